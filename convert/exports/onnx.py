"""ONNX models, written from a network's description: no package is needed.

    input    clips      [batch, channels, time, height, width], all free but the channels
    outputs  logits     [batch, classes], averaged over all positions
             features   [batch, channels, time, height, width], pooled

Parameters are initialisers with their canonical names and shapes. A node and the value that it
makes are called like their endpoint (`Mixed_3b`) or unit (`Mixed_3b/Branch_0/Conv3d_0a_1x1`); what
comes before that value in it has the op's name behind (`Conv3d_1a_7x7/BatchNormalization`). The
metadata have the architecture, the number of classes and the smallest clip. Runtimes do not check
the last: onnxruntime gives numbers for some clips that are too small, and they mean nothing.

Source: https://onnx.ai/onnx/repo-docs/IR.html.
"""

from collections.abc import Mapping
from pathlib import Path

from common import arch
from common.files import replacing
from convert.exports import _onnx_messages as messages
from convert.exports._onnx_graph import CONSTANT, IR_VERSION, OPSET, Graph
from convert.formats import _raw_values
from convert.formats._mapped_file import mapped, one_error, release
from convert.formats._raw_values import Array

NAME = "onnx"
SUFFIXES = (".onnx",)

_MOST_BYTES = 2**31 - 1  # of any protocol buffer


def files(path: Path) -> list[Path]:
    """The one file."""
    return [Path(path)]


def replaceable(path: Path) -> bool:
    """Whether a file is there."""
    return Path(path).is_file()


def write(path: Path, net: arch.Network, arrays: Mapping[str, Array]) -> None:
    """Writes a network with its weights; the same arrays give the same bytes.

    Raises:
        CheckpointError: The arrays are not the network's, ONNX lacks a node, or the file would be
            larger than 2 GiB.
    """
    path = Path(path)
    with one_error(path):
        arch.check_arrays(net, arrays)
        graph = Graph(net, "clips", "features", "logits")
        tensors = {p.name: arrays[p.name] for p in arch.parameters(net)} | graph.constants
        starts = {name: messages.tensor_start(name, array) for name, array in tensors.items()}
        nodes = b"".join(graph.nodes) + messages.graph_name(net.name)
        ends = _inputs_and_outputs(net)
        size = len(nodes) + sum(map(len, starts.values())) + len(ends)
        size += sum(array.nbytes for array in tensors.values())
        start = messages.model_start(IR_VERSION, OPSET, "i3d", size)
        end = messages.model_end(_metadata(net))
        if (total := len(start) + size + len(end)) > _MOST_BYTES:
            raise ValueError(
                f"{net.name} would need {total} bytes. An ONNX file has {_MOST_BYTES} at most; use"
                " another format."
            )
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(start + nodes)
            for name, array in tensors.items():
                file.write(starts[name])
                file.write(_raw_values.raw_bytes(array).data)
                release(array)
            file.write(ends + end)


def read_back(path: Path, net: arch.Network) -> dict[str, Array]:
    """The parameters in a file that `write` wrote, as views of the mapped file.

    Raises:
        CheckpointError: The file is damaged or of another maker.
        FileNotFoundError: There is none.
    """
    path = Path(path)
    with one_error(path):
        arrays: dict[str, Array] = {}
        for name, array in messages.tensors(mapped(path)):
            if name in arrays:
                raise ValueError(f"has {name[:200]} twice")
            if not name.startswith(CONSTANT):
                arrays[name] = array
        if not arrays:
            raise ValueError("holds no array")
        arch.check_arrays(net, arrays)
        return arrays


def _inputs_and_outputs(net: arch.Network) -> bytes:
    clips = ("batch", net.in_channels, "time", "height", "width")
    free = ("features_time", "features_height", "features_width")
    *_, channels = arch.endpoint_shapes(net, arch.smallest_size(net))[net.head.features]
    features = ("batch", channels, *(free if net.head.pool else (1, 1, 1)))
    return (
        messages.input_message("clips", clips)
        + messages.output_message("logits", ("batch", net.num_classes))
        + messages.output_message("features", features)
    )


def _metadata(net: arch.Network) -> dict[str, str]:
    """What the graph cannot say."""
    return {
        "architecture": net.name,
        "num_classes": str(net.num_classes),
        "smallest_clip": "x".join(map(str, arch.smallest_size(net))),  # T, H, W
    }
