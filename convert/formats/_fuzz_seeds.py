"""Small checkpoints of every format in its variants: what the fuzzer starts from.

Some formats have no writer here, and of the others writers make one variant; the rest is put
together by hand.
"""

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from convert.formats import (
    _bundle,
    _leveldb_table,
    _torch_pickle,
    _varint,
    caffe2_pkl,
    flax_msgpack,
    flax_pickle,
    mindspore_ckpt,
    safetensors,
    tf1_checkpoint,
    tf2_checkpoint,
    torch_pt,
)
from convert.formats import _pickle_writer as pickled
from convert.formats._crc32c import masked
from convert.formats._protobuf import bytes_field, string_field, varint_field
from convert.formats._raw_values import Array

WEIGHT = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)
ARRAYS: dict[str, Array] = {
    "params:conv:w": WEIGHT.transpose(2, 0, 1),
    "params:conv:b": np.arange(5, dtype=np.float16),
    "params:mask": np.array([True, False, True]),
    "params:step": np.array(12345, np.int64),
}
_RAW = WEIGHT.tobytes()

# Writes the checkpoint "m" (or one of several files) into a folder; the path to read.
Writer = Callable[[Path], Path]


def _written(write: Callable[[Path, Mapping[str, Array]], None]) -> Writer:
    def seed(folder: Path) -> Path:
        write(folder / "m", ARRAYS)
        return folder / "m"

    return seed


def _content(content: Callable[[], bytes]) -> Writer:
    def seed(folder: Path) -> Path:
        (folder / "m").write_bytes(content())
        return folder / "m"

    return seed


def _strings(folder: Path) -> Path:
    _bundle.write(folder / "m", {"w": WEIGHT}, strings={"note": b"text", "z": b""})
    return folder / "m"


def _tf_folder(folder: Path) -> Path:
    for name in ("model-1", "model-2"):
        tf1_checkpoint.write(folder / name, {"w": WEIGHT})
    (folder / "checkpoint").write_text('model_checkpoint_path: "/train/model-2"\n')
    return folder


def _saved_model(folder: Path) -> Path:
    (folder / "saved_model.pb").write_bytes(b"")
    (folder / "variables").mkdir()
    tf2_checkpoint.write(folder / "variables" / "variables", ARRAYS)
    return folder


def _v1(*, parts: int = 1, packed: bool = True, compressed: bool = False) -> Callable[[], bytes]:
    """A V1 checkpoint of `w` in slices along its first axis, and of a step."""

    def content() -> bytes:
        dims = b"".join(bytes_field(2, varint_field(1, size)) for size in WEIGHT.shape)
        metas = string_field(1, "w") + bytes_field(2, dims) + varint_field(3, 1)
        step = string_field(1, "step") + bytes_field(2, b"") + varint_field(3, 9)
        listed = bytes_field(1, bytes_field(1, metas) + bytes_field(1, step))
        items = [(b"", listed)]
        size = len(WEIGHT) // parts
        for start in range(0, len(WEIGHT), size):
            raw = WEIGHT[start : start + size].tobytes()
            extent = varint_field(1, start) + varint_field(2, size) if parts > 1 else b""
            extents = bytes_field(1, extent) + 2 * bytes_field(1, b"")
            saved = string_field(1, "w") + bytes_field(2, extents)
            saved += bytes_field(3, bytes_field(5 if packed else 4, raw))
            items.append((b"\0w" + bytes([start]), bytes_field(2, saved)))
        saved = string_field(1, "step") + bytes_field(2, b"")
        saved += bytes_field(3, bytes_field(10, _varint.write(300)))
        items.append((b"\1step", bytes_field(2, saved)))
        return _compressed_table(items) if compressed else _leveldb_table.write(items)

    return content


def _compressed_table(items: list[tuple[bytes, bytes]]) -> bytes:
    """A table of one block, as snappy writes it where nothing repeats: one literal."""
    block, index = _leveldb_table._Block(16), _leveldb_table._Block(1)
    for key, value in items:
        block.add(key, value)
    out = b""
    handles: list[bytes] = []
    for content in (block.content(), _leveldb_table._Block(16).content(), None):
        if content is None:  # the index comes last, when the handle of the block is known
            index.add(b"\xff", handles[0])
            content = index.content()
        literal = bytes([61 << 2]) + (len(content) - 1).to_bytes(2, "little")
        stored = _varint.write(len(content)) + literal + content
        handles.append(_varint.write(len(out)) + _varint.write(len(stored)))
        out += stored + b"\1" + struct.pack("<I", masked(stored + b"\1"))
    return out + (handles[1] + handles[2]).ljust(40, b"\0") + _leveldb_table.MAGIC


def torch_members(body: bytes) -> dict[str, bytes]:
    """The members of torch's archive around a pickled mapping; storage "0" holds WEIGHT."""
    return {"m/data.pkl": body, "m/byteorder": b"little", "m/data/0": _RAW}


def _torch_dictionary(*, legacy: bool) -> bytes:
    """What a training loop saves: the weights beside settings and an optimiser's state."""
    inner = b"".join(_torch_pickle.dump({"w": WEIGHT}, legacy=legacy))[2:-1]
    entries = {
        "epoch": pickled.integer(3),
        "arch": pickled.text("i3d"),
        "optimizer": b"}(" + pickled.integer(0) + inner + b"u",
        "state_dict": inner,
        "best": pickle.dumps(np.float64(0.5), 2)[2:-1],
        "mean": pickle.dumps(np.ones(3), 2)[2:-1],
    }
    return b"\x80\2}" + pickled.items(entries.items()) + b"."


def _torch_zip(folder: Path) -> Path:
    path = folder / "m"
    path.write_bytes(zipped(torch_members(_torch_dictionary(legacy=False))))
    return path


def _torch_views(folder: Path) -> Path:
    """Tensors of one storage: a view, untyped bytes that become bfloat16, a parameter."""

    def storage(kind: str, count: int) -> bytes:
        parts = [pickled.text("storage"), kind.encode(), pickled.text("0"), pickled.text("cpu")]
        return pickled.group([*parts, pickled.integer(count)]) + pickled.PERSISTENT

    def call(name: str, *parts: bytes) -> bytes:
        return pickled.name("torch._utils", name) + pickled.group(parts) + pickled.REDUCE

    sizes = [pickled.integer(2), pickled.integers((2, 3)), pickled.integers((1, 4))]
    rest = [pickled.FALSE, pickled.EMPTY_DICT]
    view = call("_rebuild_tensor_v2", storage("ctorch\nFloatStorage\n", 24), *sizes, *rest)
    dtype = pickled.name("torch", "bfloat16")
    untyped = storage("ctorch.storage\nUntypedStorage\n", 96)
    entries = {
        "view": view,
        "half": call("_rebuild_tensor_v3", untyped, *sizes, *rest, dtype),
        "parameter": call("_rebuild_parameter", view, *rest),
    }
    path = folder / "m"
    body = b"\x80\2}" + pickled.items(entries.items()) + b"."
    path.write_bytes(zipped(torch_members(body)))
    return path


def _torch_legacy(folder: Path) -> Path:
    path = folder / "m"
    torch_pt.write_legacy(path, {"w": WEIGHT})
    plain = b"".join(_torch_pickle.dump({"w": WEIGHT}, legacy=True))
    path.write_bytes(path.read_bytes().replace(plain, _torch_dictionary(legacy=True)))
    return path


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive of members as they are, of a fixed date."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _safetensors() -> bytes:
    """A file of another writer: without checksums."""
    header = (
        b'{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,3,4],"data_offsets":[0,96]}'
        b',"b":{"dtype":"BF16","shape":[2],"data_offsets":[96,100]}}'
    )
    return struct.pack("<Q", len(header)) + header + _RAW + b"\0\x3f\0\x40"


def _pickle(tree: object, protocol: int) -> Writer:
    return _content(lambda: pickle.dumps(tree, protocol))


def _blobs(protocol: int) -> dict[str, object]:
    arrays = {name.replace(":", "_"): array for name, array in ARRAYS.items()}
    blobs = {**arrays, "lr": np.float32(0.5), "model_iter": 400000, "names": ["a", None]}
    return blobs if protocol % 2 else {"blobs": blobs}


def _tree(protocol: int) -> dict[str, object]:
    group = collections.OrderedDict if protocol % 2 else dict
    return {"params": group(conv=group(w=WEIGHT, b=WEIGHT[0, 0])), "step": np.int64(5)}


def _pieces() -> bytes:
    """An array in two flat pieces, a complex number, a scalar and a list."""

    def text(value: str) -> bytes:
        return bytes([0xA0 + len(value)]) + value.encode()

    def array(raw: bytes) -> bytes:
        start = b"\x93\x91" + bytes([len(raw) // 4]) + text("float32") + b"\xc4"
        payload = start + bytes([len(raw)]) + raw
        return b"\xc7" + bytes([len(payload)]) + b"\1" + payload

    shape = b"\x82" + text("0") + b"\4" + text("1") + b"\6"
    chunks = b"\x82" + text("0") + array(_RAW[:64]) + text("1") + array(_RAW[64:])
    pieces = text("shape") + shape + text("chunks") + chunks
    two = b"\x92\xcb" + struct.pack(">d", 0.5) + b"\xcb" + struct.pack(">d", -2)
    entries = [
        text("w") + b"\x83" + b"\xb9__msgpack_chunked_array__\xc3" + pieces,
        text("z") + b"\xc7" + bytes([len(two)]) + b"\2" + two,
        text("list") + b"\x93\xc0\xc3" + array(_RAW[:8]),
        text("step") + b"\xcd\1\0",
    ]
    return bytes([0x80 + len(entries)]) + b"".join(entries)


def _mindspore() -> bytes:
    """A tensor in two slices, one of bfloat16, a string and a map tensor; no checksum."""

    def entry(name: str, dims: tuple[int, ...], kind: str, content: bytes) -> bytes:
        about = b"".join(varint_field(1, size) for size in dims) + string_field(2, kind)
        tensor = about + bytes_field(3, content)
        return bytes_field(1, string_field(1, name) + bytes_field(2, tensor))

    table = bytes_field(1, varint_field(1, 2) + string_field(2, "int32") + bytes_field(3, bytes(8)))
    return b"".join(
        [
            entry("w", WEIGHT.shape, "Float32", _RAW[:40]),
            entry("w", WEIGHT.shape, "Float32", _RAW[40:]),
            entry("b", (2,), "BFloat16", b"\0\x3f\0\x40"),
            entry("note", (0,), "str", "hello".encode("utf-32-le")),
            bytes_field(1, string_field(1, "table") + bytes_field(3, table)),
        ]
    )


def _mxnet(magic: int) -> Callable[[], bytes]:
    def content() -> bytes:
        arrays = {"arg:w": (WEIGHT, 0), "aux:mask": (np.array([True, False]), 7)}
        out = struct.pack("<QQQ", 0x112, 0, len(arrays))
        for array, code in arrays.values():
            out += struct.pack(f"<Iii{array.ndim}q", magic, 0, array.ndim, *array.shape)
            out += struct.pack("<iii", 1, 0, code) + array.tobytes()
        names = [struct.pack("<Q", len(name)) + name.encode() for name in arrays]
        return out + struct.pack("<Q", len(names)) + b"".join(names)

    return content


SEEDS: dict[tuple[str, str], Writer] = {
    ("tf1_checkpoint", "prefix"): _written(tf1_checkpoint.write),
    ("tf1_checkpoint", "strings"): _strings,
    ("tf1_checkpoint", "folder"): _tf_folder,
    ("tf2_checkpoint", "prefix"): _written(tf2_checkpoint.write),
    ("tf2_checkpoint", "saved model"): _saved_model,
    ("tf1_v1_checkpoint", "packed"): _content(_v1()),
    ("tf1_v1_checkpoint", "content"): _content(_v1(packed=False)),
    ("tf1_v1_checkpoint", "sliced"): _content(_v1(parts=2)),
    ("tf1_v1_checkpoint", "snappy"): _content(_v1(parts=2, compressed=True)),
    ("torch_pt", "zip"): _written(torch_pt.write),
    ("torch_pt", "zip of a dictionary"): _torch_zip,
    ("torch_pt", "zip of views"): _torch_views,
    ("torch_pt", "legacy"): _written(torch_pt.write_legacy),
    ("torch_pt", "legacy dictionary"): _torch_legacy,
    ("safetensors", "checksums"): _written(safetensors.write),
    ("safetensors", "plain"): _content(_safetensors),
    ("caffe2_pkl", "Python 2"): _written(caffe2_pkl.write),
    **{("caffe2_pkl", f"protocol {p}"): _pickle(_blobs(p), p) for p in range(6)},
    ("flax_pickle", "written"): _written(flax_pickle.write),
    **{("flax_pickle", f"protocol {p}"): _pickle(_tree(p), p) for p in range(6)},
    ("flax_msgpack", "written"): _written(flax_msgpack.write),
    ("flax_msgpack", "pieces"): _content(_pieces),
    ("mindspore_ckpt", "checksum"): _written(mindspore_ckpt.write),
    ("mindspore_ckpt", "plain"): _content(_mindspore),
    ("mxnet_params", "plain"): _content(_mxnet(0xF993FAC9)),
    ("mxnet_params", "NumPy's shapes"): _content(_mxnet(0xF993FACA)),
}
