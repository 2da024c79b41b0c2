"""What a conversion allocates: about one tensor, whatever the type of the file's numbers."""

import json
import tracemalloc

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import detect, formats, hub
from convert.arrays import shapes
from convert.dialects import DIALECTS, to_native
from parity_tests import randomise

NET = arch.inception_i3d(7)
LARGEST = max(4 * parameter.size for parameter in arch.parameters(NET))  # bytes, as float32
ALL = sum(4 * parameter.size for parameter in arch.parameters(NET))
REST = 4 * 2**20  # bytes: the network itself, names, headers, the network of each candidate

STREAMED = ("tf1_checkpoint", "safetensors", "mindspore_ckpt", "torch_pt")


@pytest.fixture(scope="module")
def arrays():
    return randomise.arrays(NET)


def _traced(function):
    """The most bytes that Python and NumPy held at a time."""
    tracemalloc.start()
    try:
        result = function()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("source", "target", "dtype"),
    list(
        zip(
            STREAMED,
            STREAMED[1:] + STREAMED[:1],
            (np.float16, np.float32, np.float64, np.float16),
            strict=True,
        )
    ),
)
def test_one_tensor_at_a_time(tmp_path, arrays, source, target, dtype):
    native = dict(to_native(DIALECTS["sonnet"], NET, arrays))
    native = {name: np.ascontiguousarray(array, dtype) for name, array in native.items()}
    slots = {f"optimizer/{name}": array for name, array in native.items()}
    modules = formats.FORMATS[source], formats.FORMATS[target]
    paths = [tmp_path / f"{i}{module.SUFFIXES[0]}" for i, module in enumerate(modules)]
    modules[0].write(paths[0], native | slots)
    report, peak = _traced(
        lambda: hub.convert(*paths, options=hub.ConversionOptions(architecture="inception_i3d"))
    )
    assert peak < 2 * LARGEST + REST < ALL / 2
    assert len(report.source.ignored) == len(slots)
    assert len(report.source.narrowed) == (len(arrays) if dtype == np.float64 else 0)
    read = hub.read(paths[1]).arrays
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array.astype(dtype).astype(np.float32))


def _bfloat16_file(path, arrays):
    """A safetensors file with the upper half of each number, and what it means as float32."""
    header, kept, offset = {}, {}, 0
    for name, array in arrays.items():
        kept[name] = (array.view(np.uint32) >> 16).astype(np.uint16)
        offsets = [offset, offset := offset + kept[name].nbytes]
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    data = b"".join(bits.tobytes() for bits in kept.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return {name: (bits.astype(np.uint32) << 16).view(np.float32) for name, bits in kept.items()}


def test_bfloat16_is_widened_one_tensor_at_a_time(tmp_path, arrays):
    path = tmp_path / "model.safetensors"
    expected = _bfloat16_file(path, to_native(DIALECTS["hassony2"], NET, arrays))
    read, peak = _traced(lambda: formats.detect(path).read(path))
    assert peak < 2**20
    assert shapes(read) == {name: array.shape for name, array in expected.items()}
    _, peak = _traced(lambda: detect.match(read, path, "inception_i3d"))
    assert peak < 2 * LARGEST
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array)
    _, peak = _traced(lambda: hub.convert(path, tmp_path / "model.ckpt"))
    assert peak < 2 * LARGEST + REST
    converted = hub.read(tmp_path / "model.ckpt").arrays
    for name, array in hub.read(path).arrays.items():
        np.testing.assert_array_equal(converted[name], array)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_numbers_of_every_type_are_checked(tmp_path, arrays, dtype):
    native = dict(to_native(DIALECTS["canonical"], NET, arrays))
    name = next(name for name in native if name.endswith("running_var"))
    native[name] = native[name].astype(dtype)
    native[name][3] = np.inf
    formats.FORMATS["safetensors"].write(tmp_path / "model.safetensors", native)
    with pytest.raises(CheckpointError, match=f"not finite in {name}"):
        hub.read(tmp_path / "model.safetensors")


def test_a_number_too_large_for_float32_is_refused(tmp_path, arrays):
    native = dict(to_native(DIALECTS["canonical"], NET, arrays))
    name = next(iter(native))
    native[name] = native[name].astype(np.float64)
    native[name].flat[5] = 1e300
    formats.FORMATS["torch_pt"].write(tmp_path / "model.pt", native)
    with pytest.raises(CheckpointError, match=f"not finite in {name}"):
        hub.read(tmp_path / "model.pt")
