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

from collections.abc import Iterator, Mapping
from pathlib import Path

from common import arch
from common.io import replacing
from convert.exports import _onnx_graph as parts
from convert.exports import _onnx_messages as messages
from convert.exports._onnx_graph import CLIPS, CONSTANT, FEATURES, LOGITS, Graph
from convert.formats import _raw_values
from convert.formats._mapped_file import mapped, one_error, release
from convert.formats._raw_values import Array

NAME = "onnx"
SUFFIXES = (".onnx",)

TIME_STEPS = parts.TIME_STEPS
"""Where a `model` may end beside the endpoints: logits of time steps [batch, time, classes]."""

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
        pieces = _pieces(net, arrays, Graph(net), _logits_and_features(net))
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.writelines(pieces)


def model(net: arch.Network, arrays: Mapping[str, Array], end: str) -> bytes:
    """A model as `write` writes it, which ends earlier or later and has one output.

    Args:
        net: The network.
        arrays: Its weights.
        end: Where: an endpoint, or `TIME_STEPS`.

    Raises:
        CheckpointError: The arrays are not the network's.
        ValueError: There is no such endpoint, ONNX lacks a node, or the model would be larger than
            2 GiB.
    """
    if end != TIME_STEPS:
        arch.check_endpoint(net, end)
    graph = Graph(net, end)
    return b"".join(_pieces(net, arrays, graph, _output(net, end, graph.output)))


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


def _pieces(
    net: arch.Network, arrays: Mapping[str, Array], graph: Graph, outputs: bytes
) -> Iterator[bytes | memoryview]:
    """The bytes of a model from front to back; raises at once where there can be none."""
    arch.check_arrays(net, arrays)
    tensors = {p.name: arrays[p.name] for p in arch.parameters(net)} | graph.constants
    starts = {name: messages.tensor_start(name, array) for name, array in tensors.items()}
    nodes = b"".join(graph.nodes) + messages.graph_name(net.name)
    clips = ("batch", net.in_channels, "time", "height", "width")
    ends = messages.input_message(CLIPS, clips) + outputs
    size = len(nodes) + sum(map(len, starts.values())) + len(ends)
    size += sum(array.nbytes for array in tensors.values())
    start = messages.model_start(parts.IR_VERSION, parts.OPSET, "i3d", size)
    end = messages.model_end(_metadata(net))
    if (total := len(start) + size + len(end)) > _MOST_BYTES:
        raise ValueError(
            f"{net.name} would need {total} bytes. An ONNX file has {_MOST_BYTES} at most; use"
            " another format."
        )

    def pieces() -> Iterator[bytes | memoryview]:
        yield start + nodes
        for name, array in tensors.items():
            yield starts[name]
            yield _raw_values.raw_bytes(array).data
            release(array)
        yield ends + end

    return pieces()


def _logits_and_features(net: arch.Network) -> bytes:
    return _output(net, net.head.name, LOGITS) + _output(net, net.head.features, FEATURES)


def _output(net: arch.Network, end: str, value: str) -> bytes:
    """The message of an output that holds an endpoint, or `TIME_STEPS`."""
    if end == TIME_STEPS:
        return messages.output_message(value, ("batch", f"{value}_time", net.num_classes))
    *size, channels = arch.endpoint_shapes(net, arch.smallest_size(net))[end]
    free: list[int | str] = [f"{value}_{axis}" for axis in ("time", "height", "width")]
    if end == net.head.features and not net.head.pool:
        free = [1, 1, 1]
    return messages.output_message(value, ("batch", channels, *free[: len(size)]))


def _metadata(net: arch.Network) -> dict[str, str]:
    """What the graph cannot say."""
    return {
        "architecture": net.name,
        "num_classes": str(net.num_classes),
        "smallest_clip": "x".join(map(str, arch.smallest_size(net))),  # T, H, W
    }
