"""torch's archives that are made to do harm: tensors, storages and members that lie."""

import io
import struct
import zipfile

import pytest

from convert.formats import _pickle_writer as pickled
from convert.formats import torch_pt
from convert.formats._fuzz_seeds import torch_members, zipped
from convert.formats._malicious import (
    HUGE,
    called,
    dictionary,
    legacy,
    recorded_calls,
    refusal,
    tensor,
)


@pytest.fixture
def executed(monkeypatch):
    return recorded_calls(monkeypatch)


TENSORS = {
    "size": {"size": (25,)},
    "size of 2**40": {"size": (HUGE,), "stride": (0,)},
    "size of 2**61": {"size": (2**61, 2**61)[:1]},
    "size of 32 axes": {"size": (2**40,) * 32, "stride": (0,) * 32},
    "size of 33 axes": {"size": (1,) * 33, "stride": (1,) * 33},
    "size below zero": {"size": (-6,)},
    "size of another rank": {"size": (2, 3)},
    "stride": {"stride": (5,)},
    "stride of 2**61": {"stride": (2**61,)},
    "stride below zero": {"stride": (-1,), "offset": 6},
    "offset": {"offset": 19},
    "offset of 2**61": {"offset": 2**61},
    "offset below zero": {"offset": -1},
    "storage of 2**61": {"count": 2**61},
    "storage below zero": {"count": -24},
    "wider storage": {"kind": "ComplexDoubleStorage"},
    "storage elsewhere": {"key": "../0"},
    "absolute storage": {"key": "/etc/passwd"},
    "storage that is the pickle": {"key": "../data.pkl"},
    "storage without a name": {"key": ""},
    "storage with a long name": {"key": "\0" * 5000},
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_that_lie(kind, old, tmp_path):
    body = dictionary(tensor(**TENSORS[kind], old=old))
    (tmp_path / "m").write_bytes(legacy(body) if old else zipped(torch_members(body)))
    refusal(torch_pt, tmp_path / "m")


def test_tensors_that_do_not_lie(tmp_path):
    """Otherwise the test above would prove nothing."""
    for old in (False, True):
        body = dictionary(tensor(old=old))
        (tmp_path / "m").write_bytes(legacy(body) if old else zipped(torch_members(body)))
        assert torch_pt.read(tmp_path / "m")["w"].shape == (6,)


def deflated(name, content):
    """The good archive with one member that is a thousandth of its content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for other, stored in GOOD.items():
            archive.writestr(other, content if other == name else stored, 8 * (other == name))
    assert len(buffer.getvalue()) < len(content) / 100
    return buffer.getvalue()


GOOD = torch_members(dictionary(tensor()))
ZIP = zipped(GOOD)
END = ZIP.rindex(b"PK\5\6")
LAST = ZIP.rindex(b"PK\1\2")  # of the storage


def patched(at, layout, *values, data=ZIP):
    out = bytearray(data)
    struct.pack_into(f"<{layout}", out, at, *values)
    return bytes(out)


def overlapping(count):
    """An archive in which many members are the same bytes, so that each costs as much as one."""
    big = bytes(2**20)
    body = b"\x80\4}" + pickled.items(
        (f"w{i}", tensor(count=2**18, key=str(i), size=(1,))) for i in range(count)
    )
    data = zipped({"m/data.pkl": body + b".", "m/data/0": big})
    at, end = data.rindex(b"PK\1\2"), data.rindex(b"PK\5\6")
    entry = data[at:end]
    more = b"".join(
        patched(28, "H", len(name), data=entry[:46]) + name
        for name in (b"m/data/%d" % i for i in range(1, count))
    )
    (size,) = struct.unpack_from("<I", data, end + 12)
    out = data[:end] + more + data[end:]
    last = end + len(more)
    return patched(last + 8, "HHI", count + 1, count + 1, size + len(more), data=out)


ZIP64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 2**62, 2**62, 2**62, 0)
ZIP64 += struct.pack("<4sIQI", b"PK\6\7", 0, END, 1)
ARCHIVES = {
    "a deflated storage": deflated("m/data/0", bytes(50_000_000)),
    "a deflated pickle": deflated("m/data.pkl", b"N" * 50_000_000),
    "a poisoned pickle": zipped(GOOD | {"m/data.pkl": dictionary(called("os.system"))}),
    "a second pickle": zipped(GOOD | {"n/data.pkl": dictionary(tensor())}),
    "65,536 members": zipped({f"m/{i}": b"" for i in range(2**16)}),
    "overlapping members": overlapping(3000),
    "two members of one name": ZIP.replace(b"m/byteorder", b"m/data.pkl\0"),
    "a storage of 4 GiB": patched(LAST + 20, "II", 2**32 - 2, 2**32 - 2),
    "a storage of 2 GiB inside": patched(LAST + 24, "I", 2**31),
    "a header past the end": patched(LAST + 42, "I", 2**32 - 2),
    "a header inside another": patched(LAST + 42, "I", 7),
    "local extra of 64 KiB": patched(ZIP.rindex(b"PK\3\4") + 28, "H", 2**16 - 1),
    "a directory of 4 GiB": patched(END + 12, "I", 2**32 - 2),
    "a directory at 4 GiB": patched(END + 16, "I", 2**32 - 2),
    "a directory of 2**62 bytes": ZIP[:END] + ZIP64 + patched(
        END + 8, "HHII", 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1)[END:],
    "encrypted": patched(LAST + 8, "H", 1),
    "an unknown compression": patched(LAST + 10, "H", 99),
    "version 255": patched(LAST + 6, "H", 255),
    "ends in its directory": ZIP[: LAST + 10],
}  # fmt: skip


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(kind, tmp_path, executed):
    (tmp_path / "m").write_bytes(ARCHIVES[kind])
    refusal(torch_pt, tmp_path / "m")
    assert not executed


@pytest.mark.parametrize("folder", ["../../x/", "/tmp/x/", "C:\\x/", "", "\x1b[2J/", "a//../"])
def test_members_that_climb_out_are_only_names(folder, tmp_path):
    """Nothing is unpacked, so where a member says it belongs does not matter."""
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    (place / "m").write_bytes(zipped({name.replace("m/", folder, 1): GOOD[name] for name in GOOD}))
    assert list(torch_pt.read(place / "m")) == ["w"]
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", place, place / "m"]
