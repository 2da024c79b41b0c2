"""Mapped pages that are let go of, and checksums that do so as they go along."""

import sys
import zlib
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from convert.formats._mapped_file import crc32, crc32c, mapped, pieces, release

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


def _views(data):
    """Slices, types, axis orders and strides as readers make them."""
    numbers = data[: 2**25].view(np.uint32).reshape(8, 2**10, 2**10)
    strided = np.lib.stride_tricks.as_strided(numbers.T, (2**10, 100), (4, 2**12))
    return [data, data[5:77777], numbers, numbers.T, strided, np.frombuffer(data[8:99].data, "u1")]


def test_values_are_the_same_afterwards(path):
    content = np.frombuffer(path.read_bytes(), np.uint8)
    for view, expected in zip(_views(mapped(path)), _views(content), strict=True):
        np.testing.assert_array_equal(view, expected)
        release(view)
        np.testing.assert_array_equal(view, expected)


def test_other_memory_stays_as_it_is():
    for array in (np.arange(5), np.zeros((0, 3)), np.array(1.5), np.arange(9)[::-2]):
        before = array.copy()
        release(array)
        np.testing.assert_array_equal(array, before)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the resident memory")
def test_pages_are_given_back(path):
    data = mapped(path)
    begin = _resident()
    assert data.max() == 255
    assert _resident() - begin > 39
    release(data[: 20 * 2**20])
    assert 18 < _resident() - begin < 22
    release(data)
    assert _resident() - begin < 1


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the resident memory")
def test_checksums_hold_a_piece_at_a_time(path):
    data = mapped(path)
    begin = _resident()
    held = [(int(piece.max()), _resident() - begin)[1] for piece in pieces(data)]
    assert len(held) == 3 and max(held) < 17
    content = path.read_bytes()
    assert crc32(data) == zlib.crc32(content)
    assert crc32c(data) == google_crc32c.value(content)
    assert _resident() - begin < 1
