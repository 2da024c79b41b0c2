"""Arrays inside a pickle: what NumPy writes, and states that contradict themselves."""

import collections
import pickle

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import _pickle_writer as pickled
from convert.formats import _unpickler, flax_pickle
from convert.formats._numpy_pickle import NUMPY_GLOBALS, PickledArray, PickledScalar

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
RAW = ARRAY.tobytes()


def state(shape=b"K\x02K\x03\x86", code="f4", order="<", raw=RAW, fortran=b"\x89"):
    """A pickled array whose parts can be wrong."""
    dtype = pickled.name("numpy", "dtype") + pickled.group([pickled.text(code), b"\x89", b"\x88"])
    dtype += b"R" + pickled.group([b"K\x03", pickled.text(order), b"NNN", b"J\xff\xff\xff\xff" * 2])
    dtype = dtype[:-1] + b"K\x00tb"
    data = raw if raw[:1] == b"]" else pickled.bytes_header(len(raw)) + raw
    reconstruct = pickled.name("numpy.core.multiarray", "_reconstruct")
    reconstruct += pickled.group([pickled.name("numpy", "ndarray"), b"K\x00\x85", b"C\x01b"]) + b"R"
    body = reconstruct + pickled.group([b"K\x01", shape, dtype, fortran, data]) + b"b"
    return b"\x80\x04}" + pickled.text("w") + body + b"s."


def test_hand_made_array(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(state())
    np.testing.assert_array_equal(flax_pickle.read(path)["w"], ARRAY)
    np.testing.assert_array_equal(pickle.loads(state())["w"], ARRAY)  # noqa: S301
    path.write_bytes(state(order=">", fortran=b"\x88"))
    expected = ARRAY.view(">f4").ravel().reshape(3, 2).T
    np.testing.assert_array_equal(flax_pickle.read(path)["w"], expected)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"raw": bytes(20)}, "needs 24 bytes, not 20"),
        ({"raw": b""}, "needs 24 bytes, not 0"),
        ({"shape": b"J\xfe\xff\xff\xffJ\xfd\xff\xff\xff\x86"}, "a dimension of -2"),
        ({"shape": b"\x8a\x08" + b"\xff" * 7 + b"\x7fK\x00\x86"}, "a dimension of 92233"),
        ({"shape": b"K\x02"}, "malformed"),
        ({"shape": b"X\x01\x00\x00\x002\x85"}, "a dimension of 2"),
        ({"shape": b"\x88\x85"}, "a dimension of True"),
        ({"shape": b"(" + b"K\x01" * 40 + b"t"}, "40 dimensions"),
        ({"code": "O"}, "dtype 'O'; expected plain numbers"),
        ({"code": "O8", "raw": b"]"}, "dtype 'O8'"),
        ({"code": "V4"}, "dtype 'V4'"),
        ({"code": "M8[s]"}, "dtype 'M8"),
        ({"code": "f4", "order": "x"}, "malformed state"),
        ({"code": "f4", "raw": b"]"}, "data is a list; expected bytes"),
    ],
)
def test_arrays_that_contradict_themselves(parts, text, tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(state(**parts))
    with pytest.raises(CheckpointError, match=text) as caught:
        flax_pickle.read(path)
    assert str(caught.value).startswith(f"{path}: w: ")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_numpy_pickles(protocol):
    tree = collections.OrderedDict(
        c=ARRAY, f=np.asfortranarray(ARRAY), big=ARRAY.astype(">f8"), s=np.float64(2.5), n=3
    )
    data = pickle.dumps(tree, protocol)
    got = _unpickler.load(data, allowed=NUMPY_GLOBALS, source="x.pkl")
    for key in ("c", "f", "big"):
        assert type(got[key]) is PickledArray
        np.testing.assert_array_equal(got[key].resolve(), ARRAY)
    assert got["big"].resolve().dtype == np.dtype(">f8")
    assert type(got["s"]) is PickledScalar and got["s"].resolve() == 2.5
    assert got["n"] == 3 and list(got) == list(tree)


def test_transposed_array_of_protocol_5(tmp_path):
    """NumPy stores its memory as it lies, with the order of the axes."""
    path = tmp_path / "m.pkl"
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    path.write_bytes(pickle.dumps({"params": {"w": array}}, 5))
    np.testing.assert_array_equal(flax_pickle.read(path)["params:w"], array, strict=True)


@pytest.mark.parametrize(
    "axes", [None, [1, 0], (1,), (1, 1), (0, 2), (-1, 0), (1, False), ("1", 0)]
)
def test_axes_that_are_no_order(axes):
    call = NUMPY_GLOBALS["numpy._core.numeric", "_frombuffer"]
    dtype = NUMPY_GLOBALS["numpy", "dtype"]("f4")
    dtype.__setstate__((3, "<", None, None, None, -1, -1, 0))
    assert call(RAW, dtype, (2, 3), "K", (1, 0)).resolve().tolist() == ARRAY.T.tolist()
    with pytest.raises(ValueError, match="order"):
        call(RAW, dtype, (2, 3), "K", axes).resolve()
