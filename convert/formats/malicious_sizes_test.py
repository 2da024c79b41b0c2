"""Files that lie about sizes, names and nesting, in the formats that are no pickle and no archive.

Each is refused in one line; nothing far beyond the file's size is allocated.
"""

import struct
import subprocess
import sys

import pytest

from common.io import CheckpointError
from convert import hub
from convert.formats import FORMATS, _leveldb_table
from convert.formats._malicious import HUGE, RAW, called, dictionary, refusal
from convert.formats._protobuf import bytes_field, header, string_field, varint_field


def tensors(text):
    """A safetensors file."""
    return struct.pack("<Q", len(text)) + text + RAW


def entry(shape, offsets="[0,24]"):
    return f'{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}'.encode()


SAFETENSORS = {
    "a shape of 2**40": tensors(b'{"w":' + entry("[1099511627776,1048576]") + b"}"),
    "a shape of 2**61": tensors(b'{"w":' + entry(f"[{2**61},{2**61}]") + b"}"),
    "a shape of 10**5000": tensors(b'{"w":' + entry("[1" + "0" * 5000 + "]") + b"}"),
    "a shape below zero": tensors(b'{"w":' + entry("[-6,-1]") + b"}"),
    "a shape of true": tensors(b'{"w":' + entry("[true,6]") + b"}"),
    "a shape of 100000 axes": tensors(b'{"w":' + entry([1] * 100_000) + b"}"),
    "nothing of 2**61": tensors(b'{"w":' + entry(f"[0,{2**61},{2**61}]", "[0,0]") + b"}"),
    "offsets past the end": tensors(b'{"w":' + entry(f"[{HUGE}]", f"[0,{4 * HUGE}]") + b"}"),
    "offsets below zero": tensors(b'{"w":' + entry("[6]", "[-24,0]") + b"}"),
    "offsets of one and the same": tensors(
        b"{" + b",".join(b'"w%d":%s' % (i, entry("[6]")) for i in range(1000)) + b"}"
    ),
    "one name twice": tensors(b'{"w":' + entry("[6]") + b',"w":' + entry("[6]") + b"}"),
    "deep lists": tensors(b'{"w":' + b"[" * 100_000 + b"}"),
    "deep objects": tensors(b'{"w":' * 100_000 + b"}"),
    "a header of 2 GiB": struct.pack("<Q", 2**31) + b"{" + RAW,
    "a header of 2**63": struct.pack("<Q", 2**63) + b"{" + RAW,
    "a name that a terminal obeys": tensors(b'{"\\u001b]0;x\\u0007\\n":' + entry("[7]") + b"}"),
    "a long name": tensors(b'{"' + b"\xe2\x80\xae" * 50_000 + b'":' + entry("[7]") + b"}"),
}


def shaped(shape):
    """A msgpack file of an array whose shape is already packed."""
    payload = b"\x93" + shape + b"\xa7float32\xc4\x18" + RAW
    return b"\x81\xa1w\xc7" + bytes([len(payload)]) + b"\1" + payload


MSGPACK = {
    "a map of 2**32": b"\xdf\xff\xff\xff\xff\xa1w\xc0",
    "a map in a map of 2**32": b"\x81\xa1w\xdf\xff\xff\xff\xff",
    "a list of 2**32": b"\x81\xa1w\xdd\xff\xff\xff\xff",
    "bytes of 2 GiB": b"\x81\xa1w\xc6\x7f\xff\xff\xff" + RAW,
    "text of 2 GiB": b"\x81\xdb\x7f\xff\xff\xff" + RAW,
    "an extension of 2 GiB": b"\x81\xa1w\xc9\x7f\xff\xff\xff\1" + RAW,
    "an array of 2**40": shaped(b"\x91\xcf" + struct.pack(">Q", HUGE)),
    "an array of 2**61 * 2**61": shaped(b"\x92" + 2 * (b"\xcf" + struct.pack(">Q", 2**61))),
    "an array below zero": shaped(b"\x92\xff\xfa"),
    "deep maps": b"\x81\xa1w" * 50_000 + b"\xc0",
    "deep lists": b"\x81\xa1w" + b"\x91" * 50_000 + b"\xc0",
    "one name twice": b"\x82" + 2 * shaped(b"\x91\6")[1:],
    "an extension of another": b"\x81\xa1w\xd4\x05\0",
    "a name that a terminal obeys": shaped(b"\x91\7").replace(b"\xa1w", b"\xa4\x1b[2J"),
}


def mindspore(*tensor, name="w"):
    return bytes_field(1, string_field(1, name) + bytes_field(2, b"".join(tensor)))


KIND, CONTENT = string_field(2, "Float32"), bytes_field(3, RAW)
MINDSPORE = {
    "a dimension of 2**40": mindspore(varint_field(1, HUGE), KIND, CONTENT),
    "dimensions of 2**61": mindspore(varint_field(1, 2**61) * 2, KIND, CONTENT),
    "a dimension below zero": mindspore(varint_field(1, -6), KIND, CONTENT),
    "10000 dimensions": mindspore(varint_field(1, 1) * 10_000, KIND, CONTENT),
    "an entry of 2 GiB": mindspore(KIND, CONTENT) + header(1, 2**31) + RAW,
    "a content of 2 GiB": mindspore(varint_field(1, 6), KIND, header(3, 2**31), RAW),
    "a content of 2**63": mindspore(varint_field(1, 6), KIND, header(3, 2**63), RAW),
    "one name twice": 2 * mindspore(varint_field(1, 6), KIND, CONTENT),
    "a type of 100000 letters": mindspore(string_field(2, "F" * 100_000), CONTENT),
    "a name that a terminal obeys": mindspore(KIND, CONTENT, name="\x1b[2J\r\n" * 1000),
}


def mxnet(count=1, ndim=1, shape=(6,), names=1, length=1):
    return (
        struct.pack("<QQQ", 0x112, 0, count)
        + struct.pack(f"<Iii{len(shape)}q", 0xF993FAC9, 0, ndim, *shape)
        + struct.pack("<iii", 1, 0, 0)
        + RAW
        + struct.pack("<QQ", names, length)
        + b"w"
    )


MXNET = {
    "2**63 arrays": mxnet(count=2**63),
    "2**31 axes": mxnet(ndim=2**31 - 1),
    "axes below zero": mxnet(ndim=-1),
    "a size of 2**40": mxnet(shape=(HUGE,)),
    "sizes of 2**61": mxnet(ndim=2, shape=(2**61, 2**61)),
    "sizes below zero": mxnet(ndim=2, shape=(-6, -1)),
    "2**63 names": mxnet(names=2**63),
    "a name of 2 GiB": mxnet(length=2**31),
    "a name of 2**64": mxnet(length=2**64 - 1),
}


def v1(shape=(6,), extent=b"", values=bytes_field(5, RAW), more=b""):  # noqa: B008
    dims = b"".join(bytes_field(2, varint_field(1, size)) for size in shape)
    meta = string_field(1, "w") + bytes_field(2, dims) + varint_field(3, 1)
    saved = string_field(1, "w") + bytes_field(2, bytes_field(1, extent) * len(shape))
    items = [(b"", bytes_field(1, bytes_field(1, meta) + more))]
    items.append((b"\0w", bytes_field(2, saved + bytes_field(3, values))))
    return _leveldb_table.write(items)


V1 = {
    "a size of 2**40": v1(shape=(HUGE,)),
    "sizes of 2**61": v1(shape=(2**61, 2**61)),
    "a size below zero": v1(shape=(-6,)),
    "a slice past the end": v1(extent=varint_field(1, 3) + varint_field(2, 6)),
    "a slice of 2**62": v1(shape=(2**61,), extent=varint_field(1, 0) + varint_field(2, 2**61)),
    "values of 2 GiB": v1(values=header(5, 2**31) + RAW),
    "50001 tensors": v1(more=b"\x0a\0" * 50_001),
    "50001 values": v1(values=b"\x2d\0\0\0\0" * 50_001),
}
FILES = {
    "safetensors": SAFETENSORS,
    "flax_msgpack": MSGPACK,
    "mindspore_ckpt": MINDSPORE,
    "mxnet_params": MXNET,
    "tf1_v1_checkpoint": V1,
}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in FILES.items() for kind in kinds]
)
def test_files(name, kind, tmp_path):
    (tmp_path / "m").write_bytes(FILES[name][kind])
    refusal(FORMATS[name], tmp_path / "m")


def test_the_makers_of_these_files_are_right(tmp_path):
    """Otherwise the test above would prove nothing."""
    good = {
        "safetensors": tensors(b'{"w":' + entry("[6]") + b"}"),
        "flax_msgpack": shaped(b"\x91\6"),
        "mindspore_ckpt": mindspore(varint_field(1, 6), KIND, CONTENT),
        "mxnet_params": mxnet(),
        "tf1_v1_checkpoint": v1(),
    }
    assert list(good) == list(FILES)
    for name, content in good.items():
        (tmp_path / name).write_bytes(content)
        ((key, array),) = FORMATS[name].read(tmp_path / name).items()
        assert key == "w" and array.shape == (6,)


@pytest.mark.parametrize(
    "content",
    [dictionary(called("os.system")), SAFETENSORS["deep lists"]],
    ids=["pickle", "safetensors"],
)
def test_the_command_ends_with_one_line(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    arguments = [f"--input={tmp_path / 'm'}", f"--output={tmp_path / 'm.pt'}"]
    done = subprocess.run(
        [sys.executable, "-m", "convert", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'm'}: ")
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]
    with pytest.raises(CheckpointError):
        hub.read(tmp_path / "m")
