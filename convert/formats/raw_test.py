"""Mapped pages that are let go of, and checksums that do so as they go along."""

import errno
import sys
import zlib
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from convert.formats import _raw

SIZE = 40 * 2**20 + 12345  # bytes: several pieces, the last of odd length


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(np.random.default_rng(0).bytes(SIZE))
    return file


def _resident():
    """MiB of mapped pages that this process holds."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("RssFile:")[1].split()[0]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the resident memory")
def test_pages_are_given_back(path):
    data = _raw.mapped(path)
    begin = _resident()
    numbers = data[: 2**25].view(np.uint32).reshape(8, 2**10, 2**10)
    expected = numbers.T.copy()
    assert _resident() - begin > 31
    _raw.release(numbers[:4])
    assert 12 < _resident() - begin < 18
    _raw.release(numbers.T)
    assert _resident() - begin < 1
    np.testing.assert_array_equal(numbers.T, expected)
    content = path.read_bytes()
    _raw.release(data)
    assert _raw.crc32(data) == zlib.crc32(content)
    assert _raw.crc32c(data) == google_crc32c.value(content)
    assert _resident() - begin < 1


def test_a_full_disk_is_not_a_malformed_file(tmp_path):
    @_raw.writer
    def write(file, arrays):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "m", {})
    assert not list(tmp_path.iterdir())
