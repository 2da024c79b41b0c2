"""V1 checkpoints: TensorFlow's own files, and made-up ones with every type, slice and mistake."""

import struct

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import _leveldb_table, _varint, tf1_checkpoint, tf1_v1_checkpoint
from convert.formats._crc32c import masked
from convert.formats._protobuf import bytes_field, fixed32_field, string_field, varint_field
from convert.formats.corruption_test import damage, outcome

# `a/w` and `global_step` as TensorFlow 2.21 saves them with write_version=SaverDef.V1.
GOLDEN = bytes.fromhex(
    "0000340a320a170a03612f7712081202080212020803180122040a000a000a130a0b676c6f62616c5f73746570"
    "12001809220012020801000c2900612f7700010102807f807f12270a03612f7712040a000a001a1a2a18000000"
    "000000803f0000004000004040000080400000a040010e16676c6f62616c5f7374657000010012140a0b676c6f"
    "62616c5f7374657012001a03520107000000000100000000f7287671000000000100000000c0f2a1b000010301"
    "009e01000000000100000000dbcd3126a30108b0010f0000000000000000000000000000000000000000000000"
    "000000000000000000000057fb808b247547db"
)
GOLDEN_ARRAYS = {
    "a/w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "global_step": np.array(7, np.int64),
}

KINDS = {
    "float32": np.array([[1.5, -2.0, np.float32(1) / 3]], np.float32),
    "float64": np.array([1 / 3, -1e300]),
    "float16": np.array([1.5, -2.0, 65504.0], np.float16),
    "int8": np.array([-128, 127], np.int8),
    "int16": np.array([-32768, 300], np.int16),
    "int32": np.array([-(2**31), 5], np.int32),
    "int64": np.array([[-(2**63)], [2**63 - 1]]),
    "uint8": np.array([0, 255], np.uint8),
    "uint16": np.array([65535, 1], np.uint16),
    "bool": np.array([True, False, True]),
    "complex64": np.array([1 + 2j], np.complex64),
    "complex128": np.array([1 - 2j], np.complex128),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(-7, np.int32),
}

# DataType number, field of TensorProto, and whether it holds varints.
FIELDS = {
    **{"float32": (1, 5, False), "float64": (2, 6, False), "int32": (3, 7, True)},
    **{"uint8": (4, 7, True), "int16": (5, 7, True), "int8": (6, 7, True)},
    **{"complex64": (8, 9, False), "int64": (9, 10, True), "bool": (10, 11, True)},
    **{"uint16": (17, 7, True), "complex128": (18, 12, False), "float16": (19, 13, True)},
}


def test_a_file_of_tensorflow(tmp_path, same):
    path = tmp_path / "model.ckpt-7"
    path.write_bytes(GOLDEN)
    got = tf1_v1_checkpoint.read(path)
    same(got, GOLDEN_ARRAYS)
    assert list(got) == ["a/w", "global_step"]
    assert not got["a/w"].flags.owndata  # a view of what the table holds
    assert tf1_v1_checkpoint.recognises(path) and not tf1_checkpoint.recognises(path)
    assert tf1_v1_checkpoint.files(path) == [path]
    assert not hasattr(tf1_v1_checkpoint, "write")


def test_the_writer_of_these_tests_is_like_tensorflow(tmp_path):
    _write(tmp_path / "m", GOLDEN_ARRAYS)
    assert (tmp_path / "m").read_bytes() == GOLDEN


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_of_tensorflow(tmp_path, same, kind):
    _save_with_tensorflow(tmp_path / "m", {kind: KINDS[kind]})
    same(tf1_v1_checkpoint.read(tmp_path / "m"), {kind: KINDS[kind]})


def test_strings_are_left_out(tmp_path, same):
    values = {"words": np.array(["ab", "c"]), "w": np.ones(3, np.float32)}
    _save_with_tensorflow(tmp_path / "m", values)
    same(tf1_v1_checkpoint.read(tmp_path / "m"), {"w": np.ones(3, np.float32)})


def test_partitioned_variables_of_tensorflow(tmp_path):
    tf = pytest.importorskip("tensorflow", reason="it writes and reads the file").compat.v1
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.get_variable(
            *("w", (7, 5)),
            initializer=tf.random_normal_initializer(),
            partitioner=tf.fixed_size_partitioner(3),
            use_resource=False,
        )
        session.run(tf.global_variables_initializer())
        _saver(tf).save(session, str(tmp_path / "m"), write_meta_graph=False)
        expected = session.run(tf.convert_to_tensor(variable))
    got = tf1_v1_checkpoint.read(tmp_path / "m")
    assert expected.shape == (7, 5) and len(np.unique(expected)) == 35
    np.testing.assert_array_equal(got["w"], expected)


def test_tensorflow_reads_what_these_tests_write(tmp_path):
    tf = pytest.importorskip("tensorflow", reason="it judges the made-up files")
    _write(tmp_path / "m", KINDS)
    prefix = str(tmp_path / "m")
    reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    assert sorted(reader.get_variable_to_shape_map()) == sorted(KINDS)
    for name, array in KINDS.items():
        theirs = tf.raw_ops.Restore(file_pattern=prefix, tensor_name=name, dt=array.dtype)
        np.testing.assert_array_equal(theirs, array, err_msg=name)


@pytest.mark.parametrize("how", ["packed", "unpacked", "content", "halved"])
def test_every_way_to_hold_values(tmp_path, same, how):
    _write(tmp_path / "m", KINDS, values=lambda array: _values(array, how))
    same(tf1_v1_checkpoint.read(tmp_path / "m"), KINDS)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_large_file(tmp_path, same, monkeypatch, compressed):
    random = np.random.default_rng(5)
    shapes = [(int(n), int(n) % 5 + 1) for n in random.integers(1, 400, 300)]
    arrays = {
        f"InceptionV1/Mixed_{i:03d}/weights": random.normal(size=shape).astype(np.float32)
        for i, shape in enumerate(shapes)
    }
    arrays["steps"] = random.integers(-(2**62), 2**62, 5000)
    if compressed:
        monkeypatch.setattr(_leveldb_table, "_append", _append_compressed)
    _write(tmp_path / "m", arrays)
    assert (tmp_path / "m").stat().st_size > 2 * 262_144  # several blocks
    assert tf1_v1_checkpoint.recognises(tmp_path / "m")
    got = tf1_v1_checkpoint.read(tmp_path / "m")
    same(got, arrays)
    assert list(got) == sorted(arrays)


@pytest.mark.parametrize("parts", [[(0, 2), (2, 1), (3, 4)], [(3, 4), (0, 3)], [(0, 7)]])
def test_slices_are_put_together(tmp_path, same, parts):
    array = np.arange(28).reshape(2, 7, 2)
    slices = [(_extents(None, part, None), array[:, part[0] : sum(part)]) for part in parts]
    _write_slices(tmp_path / "m", array, slices)
    same(tf1_v1_checkpoint.read(tmp_path / "m"), {"w": array})


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([(0, 3), (2, 4)], "the slices of w overlap"),
        ([(0, 3), (4, 3)], r"w \[2, 7, 2\] has slices of 24 values altogether"),
        ([(0, 3)], "has slices of 12 values altogether"),
        ([(0, 7), (0, 7)], "has slices of 56 values altogether"),
        ([(0, 3), (5, 4)], r"a slice of w spans 5\.\.9 of an axis of 7"),
        ([(2**63, 4)], "of an axis of 7"),
        ([(0, 2**64 - 1)], "of an axis of 7"),
    ],
)
def test_slices_that_do_not_fit(tmp_path, parts, text):
    array = np.arange(28).reshape(2, 7, 2)
    slices = [(_extents(None, part, None), array[:, : min(part[1], 7)]) for part in parts]
    _write_slices(tmp_path / "m", array, slices)
    _refused(tmp_path / "m", text)


W = np.array([1.0, 2.0], np.float32)
FULL = bytes_field(1, b"")  # the extent of a whole axis
PROTO = bytes_field(5, W.tobytes())


def _meta(name="w", shape=(2,), number=1):
    dims = b"".join(bytes_field(2, varint_field(1, size)) for size in shape)
    return bytes_field(1, string_field(1, name) + bytes_field(2, dims) + varint_field(3, number))


def _slice(name="w", extents=FULL, proto=PROTO):
    return bytes_field(2, string_field(1, name) + bytes_field(2, extents) + bytes_field(3, proto))


@pytest.mark.parametrize(
    ("meta", "entry", "text"),
    [
        (_meta(shape=(3,)), _slice(), r"w: float32 \[3\] cannot be 8 bytes"),
        (_meta(shape=(2**61, 2**61)), _slice(extents=FULL + FULL), "cannot be 8 bytes"),
        (_meta(shape=(2**63,)), _slice(), "a dimension of 9223372036854775808"),
        (_meta(shape=(1,) * 33), _slice(), "an array of 33 dimensions"),
        (_meta(), _slice(extents=b""), "a slice of w has 0 axes; expected 1"),
        (_meta(number=99), _slice(), "w has the unsupported TensorFlow data type 99"),
        (_meta(number=23), _slice(), "w has the unsupported TensorFlow data type 23"),
        (_meta() + _meta(), _slice(), "its list of tensors names w twice"),
        (_meta() + _meta("x"), _slice(), "its list of tensors names x, but no values"),
        (_meta(), _slice("x"), "holds values of x, which its list of tensors does not name"),
        (_meta(), _slice(proto=varint_field(1, 2)), "w is float32, but has values of type 2"),
        (_meta(), _slice(proto=b""), r"float32 \[2\] cannot be 0 bytes"),
        (_meta(), _slice(proto=bytes_field(5, bytes(7))), "cannot be 7 bytes"),
        (_meta(), _slice(proto=bytes_field(4, bytes(9))), "cannot be 9 bytes"),
        (_meta(), _slice(proto=varint_field(5, 1) * 2), "value of wire type 0; expected 5"),
        (_meta(number=6), _slice(proto=bytes_field(7, b"\x7f\x80\x01")), r"outside -128\.\.127"),
        (_meta(number=10), _slice(proto=bytes_field(11, b"\x01\x80\x02")), r"outside 0\.\.255"),
        (_meta(number=9), _slice(proto=bytes_field(10, b"\x01\x80")), "end inside an integer"),
        (_meta(number=9), _slice(proto=bytes_field(10, b"\x80" * 10 + b"\1")), "64 bits"),
        (_meta(number=7), _slice(proto=bytes_field(8, b"ab") * 2), "holds no array"),
        (b"", b"", "holds no array"),
        (varint_field(1, 1), _slice(), "wire type 0; expected a length"),
        (_meta(), b"\x12\x7f", "is cut off"),
        (_meta(), varint_field(2, 1), "wire type 0; expected a length"),
    ],
)
def test_contradictions(tmp_path, meta, entry, text):
    items = [(b"", bytes_field(1, meta)), *([(b"\0w", entry)] if entry else [])]
    (tmp_path / "m").write_bytes(_leveldb_table.write(items))
    assert tf1_v1_checkpoint.recognises(tmp_path / "m")
    _refused(tmp_path / "m", text)


def test_one_of_several_files(tmp_path, same):
    whole = tmp_path / "model.ckpt-00000-of-00001"
    whole.write_bytes(GOLDEN)
    same(tf1_v1_checkpoint.read(whole), GOLDEN_ARRAYS)
    part = tmp_path / "model.ckpt-00000-of-00002"
    part.write_bytes(GOLDEN)
    assert tf1_v1_checkpoint.recognises(part)
    _refused(part, r"is one of the 2 files .*sharded=False")


def test_what_is_not_recognised(tmp_path, arrays):
    tf1_checkpoint.write(tmp_path / "m", arrays)
    for name in ("m", "m.index", "m.data-00000-of-00001", "missing", "."):
        assert not tf1_v1_checkpoint.recognises(tmp_path / name)
    _refused(tmp_path / "m.index", "does not begin with a list of tensors")
    (tmp_path / "empty").write_bytes(_leveldb_table.write([]))
    assert not tf1_v1_checkpoint.recognises(tmp_path / "empty")
    _refused(tmp_path / "empty", "does not begin with a list of tensors")
    with pytest.raises(FileNotFoundError):
        tf1_v1_checkpoint.read(tmp_path / "missing")


def test_random_damage(tmp_path, same):
    path = tmp_path / "m"
    random = np.random.default_rng(6)
    refused = 0
    for _ in range(400):
        path.write_bytes(damage(GOLDEN, random))
        got = outcome(tf1_v1_checkpoint, path)
        tf1_checkpoint.recognises(path)
        refused += got is None
        if got is not None:
            same(got, GOLDEN_ARRAYS)
    assert refused > 200


def test_every_truncation_and_every_bit(tmp_path):
    path = tmp_path / "m"
    for size in range(len(GOLDEN)):
        path.write_bytes(GOLDEN[:size])
        assert outcome(tf1_v1_checkpoint, path) is None, size
    for bit in range(8 * len(GOLDEN)):
        bad = bytearray(GOLDEN)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        assert outcome(tf1_v1_checkpoint, path) is None, bit


def test_damage_behind_correct_checksums(tmp_path):
    """What a table's checksums do not show: its messages are refused, or harmless."""
    path, random = tmp_path / "m", np.random.default_rng(7)
    array = np.arange(12).reshape(4, 3)
    halves = [(_extents((at, 2), None), array[at : at + 2]) for at in (0, 2)]
    _write_slices(path, array, halves, also=KINDS)
    items = list(_leveldb_table.read(np.frombuffer(path.read_bytes(), np.uint8)))
    refused = 0
    for _ in range(1500):
        at = int(random.integers(len(items)))
        bad = list(items)
        bad[at] = (items[at][0], damage(items[at][1], random))
        path.write_bytes(_leveldb_table.write(bad))
        refused += outcome(tf1_v1_checkpoint, path) is None
    assert 700 < refused < 1500


def _refused(path, text):
    with pytest.raises(CheckpointError, match=text) as caught:
        tf1_v1_checkpoint.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def _saver(tf):
    return tf.train.Saver(write_version=tf.train.SaverDef.V1)


def _save_with_tensorflow(path, arrays):
    tf = pytest.importorskip("tensorflow", reason="it writes the file").compat.v1
    with tf.Graph().as_default(), tf.Session() as session:
        for name, array in arrays.items():
            tf.get_variable(name, initializer=array, use_resource=False)
        session.run(tf.global_variables_initializer())
        _saver(tf).save(session, str(path), write_meta_graph=False)


def _write(path, arrays, values=None):
    """A V1 checkpoint of whole tensors."""
    metas, items = b"", []
    for name, array in sorted(arrays.items()):
        extents = _extents(*[None] * array.ndim)
        metas += _tensor(name, array, [extents])
        items.append(_item(name, array, extents, (values or _values)(array)))
    _write_table(path, metas, items)


def _write_slices(path, array, slices, also=()):
    """A V1 checkpoint of `w` in slices, each of them its extents and values."""
    metas = _tensor("w", array, [extents for extents, _ in slices])
    items = [_item("w", array, extents, _values(part)) for extents, part in slices]
    for name in also:
        extents = _extents(*[None] * also[name].ndim)
        metas += _tensor(name, also[name], [extents])
        items.append(_item(name, also[name], extents, _values(also[name])))
    # Keys of equal slices would be equal.
    _write_table(path, metas, [(key + bytes([i]), value) for i, (key, value) in enumerate(items)])


def _write_table(path, metas, items):
    header = bytes_field(1, metas + bytes_field(2, varint_field(1, 1)))
    path.write_bytes(_leveldb_table.write([(b"", header), *sorted(items)]))


def _tensor(name, array, slices):
    """A SavedSliceMeta."""
    dims = b"".join(bytes_field(2, varint_field(1, n) if n else b"") for n in array.shape)
    number = FIELDS[array.dtype.name][0]
    meta = string_field(1, name) + bytes_field(2, dims) + varint_field(3, number)
    return bytes_field(1, meta + b"".join(bytes_field(4, extents) for extents in slices))


def _item(name, array, extents, values):
    """Key and value of one slice; the key is TensorFlow's for whole tensors of small rank."""
    rank = bytes([1, array.ndim]) if array.ndim else b"\0"
    key = b"\0" + name.encode() + b"\0\1" + rank + b"\x80\x7f" * array.ndim
    saved = string_field(1, name) + bytes_field(2, extents) + bytes_field(3, values)
    return key, bytes_field(2, saved)


def _extents(*parts):
    """A TensorSliceProto: start and length of each axis, or None for all of it."""
    fields = (
        b"" if part is None else varint_field(1, part[0]) + varint_field(2, part[1])
        for part in parts
    )
    return b"".join(bytes_field(1, field) for field in fields)


def _values(array, how="packed"):
    """A TensorProto with the values of `array`."""
    _, field, varints = FIELDS[array.dtype.name]
    raw = np.ascontiguousarray(array)
    if how == "content":
        return bytes_field(4, raw.tobytes())
    if array.dtype == np.float16:
        raw = raw.view(np.uint16)
    if array.size == 0:
        return b""
    if varints:
        values = [_varint.write(int(value) % 2**64) for value in raw.ravel()]
    else:
        size = 8 if array.dtype in (np.float64, np.complex128) else 4
        values = [raw.tobytes()[at : at + size] for at in range(0, raw.nbytes, size)]
    if how == "halved":  # packed, but in two pieces
        middle = len(values) // 2
        parts = (values[:middle], values[middle:])
        return b"".join(bytes_field(field, b"".join(part)) for part in parts)
    if how == "packed":
        return bytes_field(field, b"".join(values))
    kind = 0 if varints else fixed32_field(1, 0)[0] & 7 if len(values[0]) == 4 else 1
    return b"".join(_varint.write(field << 3 | kind) + value for value in values)


def _append_compressed(out, block):
    """A block as snappy writes it where nothing repeats: one literal."""
    content = block.content()
    literal = bytes([62 << 2]) + (len(content) - 1).to_bytes(3, "little")
    packed = _varint.write(len(content)) + literal + content
    handle = _varint.write(len(out)) + _varint.write(len(packed))
    out += packed + b"\1" + struct.pack("<I", masked(packed + b"\1"))
    return handle
