"""What a conversion allocates: about one tensor, whatever the type of the file's numbers."""

import tracemalloc

import numpy as np
import pytest

from common import arch
from convert import formats, hub
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
    tracemalloc.start()
    try:
        result = function()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("source", "target", "dtype"),
    list(zip(STREAMED, STREAMED[1:] + STREAMED[:1], ("f2", "f4", "f8", "f2"), strict=True)),
)
def test_one_tensor_at_a_time(tmp_path, arrays, source, target, dtype):
    native = dict(to_native(DIALECTS["sonnet"], NET, arrays))
    native = {name: np.ascontiguousarray(array, dtype) for name, array in native.items()}
    slots = {f"optimizer/{name}": array for name, array in native.items()}
    paths = [tmp_path / f"{i}{hub.SUFFIXES[each][0]}" for i, each in enumerate((source, target))]
    formats.FORMATS[source].write(paths[0], native | slots)
    options = hub.ConversionOptions(architecture="inception_i3d")
    written, peak = _traced(lambda: hub.convert(*paths, options=options))
    assert peak < 2 * LARGEST + REST < ALL / 2
    assert len(written.notes) == (dtype != "f4")
    read = hub.read(paths[1]).arrays
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array.astype(dtype).astype(np.float32))
