"""ONNX models, written from a network's description.

    input    clips      [batch, channels, time, height, width], all free but the channels
    outputs  logits     [batch, classes], averaged over all positions
             features   [batch, channels, time, height, width], pooled

Parameters are initialisers with their canonical names and shapes. A node and the value that it
makes are named like their endpoint (`Mixed_3b`) or unit (`Mixed_3b/Branch_0/Conv3d_0a_1x1`); values
before that one in the unit have the op's name behind (`Conv3d_1a_7x7/BatchNormalization`). The
metadata have the architecture, the number of classes and the smallest clip. Runtimes do not check
the last: onnxruntime returns numbers for some clips that are too small, and they mean nothing.

Source: https://onnx.ai/onnx/repo-docs/IR.html.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import arch
from common.io import replacing
from convert.arrays import Array
from convert.formats._mapped_file import one_error

try:
    import onnx
    from onnx import NodeProto, TensorProto, helper, numpy_helper
except ImportError as error:
    raise ImportError(
        "an ONNX model needs the package onnx. In a checkout: pip install '.[onnx]'"
    ) from error

# The operators below mean the same from this version on. It is of November 2020, so that old
# runtimes know it too; before it Softmax meant something else.
OPSET, IR_VERSION = 13, 7

CLIPS, LOGITS, FEATURES = "clips", "logits", "features"

_CONSTANT = "constant/"  # starts the names of tensors that are no parameters
_POSITIONS = (2, 3, 4)  # the axes T, H, W
_SWAP_GROUPS = (0, 2, 1, 3, 4, 5)  # [B, C, groups, T, H, W] and back
_MOST_BYTES = 2**31 - 1  # of any protocol buffer
_POOLS = {"max": "MaxPool", "average": "AveragePool"}


def write(path: Path, net: arch.Network, arrays: Mapping[str, Array]) -> None:
    """Writes a network with its weights; the same arrays give the same bytes.

    Raises:
        CheckpointError: The arrays are not the network's, ONNX lacks a node, or the file would be
            larger than 2 GiB.
    """
    with one_error(Path(path)):
        arch.check_arrays(net, arrays)
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise ValueError(f"{name} has dtype {array.dtype}; expected float32")
        graph = _Graph(net)
        tensors = {p.name: arrays[p.name] for p in arch.parameters(net)} | graph.constants
        size = sum(array.nbytes for array in tensors.values())
        if size > _MOST_BYTES - 2**20:
            raise ValueError(
                f"{net.name} would need {size} bytes. An ONNX file has {_MOST_BYTES} at most; use"
                " another format."
            )
        channels = arch.endpoint_shapes(net, arch.smallest_size(net))[net.head.features][-1]
        free: list[object] = [f"{FEATURES}_{axis}" for axis in ("time", "height", "width")]
        if not net.head.pool:
            free = [1, 1, 1]
        clips: list[object] = ["batch", net.in_channels, "time", "height", "width"]
        model = helper.make_model(
            helper.make_graph(
                graph.nodes,
                net.name,
                [_value(CLIPS, clips)],
                [
                    _value(LOGITS, ["batch", net.num_classes]),
                    _value(FEATURES, ["batch", channels, *free]),
                ],
                [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in tensors.items()],
            ),
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="i3d",
        )
        smallest = "x".join(map(str, arch.smallest_size(net)))  # T, H, W
        about = {"architecture": net.name, "num_classes": str(net.num_classes)}
        helper.set_model_props(model, {**about, "smallest_clip": smallest})
        with replacing(path) as temporary:
            temporary.write_bytes(model.SerializeToString(deterministic=True))


def read_back(path: Path, net: arch.Network) -> dict[str, Array]:
    """Returns the parameters in a file that `write` wrote.

    Raises:
        CheckpointError: The file is damaged or of another maker.
        FileNotFoundError: There is none.
    """
    with one_error(Path(path)):
        tensors = onnx.load(path, load_external_data=False).graph.initializer
        arrays = {t.name: numpy_helper.to_array(t) for t in tensors}
        parameters = {n: array for n, array in arrays.items() if not n.startswith(_CONSTANT)}
        if not parameters:
            raise ValueError("holds no array")
        arch.check_arrays(net, parameters)
        return parameters


def run(path: Path, clips: Array) -> dict[str, Array]:
    """Returns the outputs for clips [B, T, H, W, C] by endpoint, channels last, of onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {CLIPS: np.moveaxis(clips, -1, 1).copy()}
    logits, features = session.run([LOGITS, FEATURES], inputs)
    return {"Features": np.moveaxis(features, 1, -1), "Logits": logits}


def _value(name: str, shape: Sequence[object]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Graph:
    """The nodes of a network in the order they run, and the constants that they read.

    Values are [B, C, T, H, W], as in `i3d_torch`. All sizes but the channels are free: where an op
    needs one, the graph asks for it itself.

    Attributes:
        nodes: From the clips to features and logits.
        constants: Tensors that are no parameters, by name; nodes share those that are equal.
    """

    def __init__(self, net: arch.Network):
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        x = CLIPS
        for node in net.nodes[:-1]:
            x = self._layer(node, (node.name,), x)
        head = net.head
        if head.pool:
            x = self._pool(head.pool, FEATURES, x)
        else:
            x = self._add("ReduceMean", [x], FEATURES, axes=_POSITIONS, keepdims=1)
        x = self._conv(head.conv, (head.name, head.conv.name), x)
        self._add("ReduceMean", [x], LOGITS, axes=_POSITIONS, keepdims=0)

    def _layer(self, node: arch.Node, path: tuple[str, ...], x: str) -> str:
        match node:
            case arch.Conv():
                return self._conv(node, path, x)
            case arch.Pool():
                return self._pool(node, "/".join(path), x)
            case arch.Branches():
                outputs = [self._chain(branch, (*path, name), x) for name, branch in node.branches]
                return self._add("Concat", outputs, node.name, axis=1)
            case arch.Residual():
                y = self._chain(node.body, path, x)
                if node.shortcut:
                    x = self._chain([node.shortcut], path, x)
                return self._add("Relu", [self._add("Add", [y, x], f"{node.name}/Add")], node.name)
            case arch.NonLocal():
                return self._non_local(node, x)
            case arch.Head():
                raise ValueError(f"{node.name}: a head can only be the last node")

    def _chain(self, chain: Sequence[arch.Conv | arch.Pool], path: tuple[str, ...], x: str) -> str:
        for node in chain:
            x = self._layer(node, (*path, node.name), x)
        return x

    def _conv(self, node: arch.Conv, unit: tuple[str, ...], x: str) -> str:
        value, own = "/".join(unit), ".".join(unit)
        kernel = [f"{own}.conv.weight", *([f"{own}.conv.bias"] if node.bias else [])]
        steps: list[tuple[str, list[str], dict[str, Any]]] = [("Conv", kernel, _window(node))]
        match node.norm:
            case arch.Norm(scale=scale, eps=eps):
                size = node.out_channels
                ones = (
                    f"{own}.norm.weight" if scale else self._constant("ones", np.ones(size, "f4"))
                )
                others = (f"{own}.norm.{name}" for name in ("bias", "running_mean", "running_var"))
                steps.append(("BatchNormalization", [ones, *others], {"epsilon": eps}))
            case arch.Affine():
                steps.append(("Mul", [self._each_channel(f"{own}.norm.weight")], {}))
                steps.append(("Add", [self._each_channel(f"{own}.norm.bias")], {}))
        if node.relu:
            steps.append(("Relu", [], {}))
        for count, (op, inputs, attributes) in enumerate(steps, 1):
            output = value if count == len(steps) else f"{value}/{op}"
            x = self._add(op, [x, *inputs], output, **attributes)
        return x

    def _pool(self, node: arch.Pool, value: str, x: str) -> str:
        """Adds a pool; padded cells never count in ONNX either."""
        if node.padding == "same" and any(
            stride > kernel for stride, kernel in zip(node.stride, node.kernel, strict=True)
        ):
            raise ValueError(
                f"{value}: a pool with padding 'same' and a stride above its kernel is not possible"
                f" in ONNX. Received: stride {node.stride}, kernel {node.kernel}."
            )
        return self._add(_POOLS[node.kind], [x], value, **_window(node))

    def _non_local(self, node: arch.NonLocal, x: str) -> str:
        name, group = node.name, node.group
        if not group:
            return self._add("Add", [x, self._attention(node, x)], name)
        sizes = self._add("Shape", [x], f"{name}/sizes")
        batch = self._add("Gather", [sizes, self._integers(0)], f"{name}/batch")
        area = self._add("Gather", [sizes, self._integers(3, 4)], f"{name}/area")
        # Groups of time steps stand side by side in the batch. 0 is the size that is there, -1
        # what is left; no time step can be left over.
        channels = node.out.out_channels
        split = [self._integers(0, 0, -1, group), area]
        merged = [self._integers(-1, channels, group), area]
        inner = self._attention(node, self._regroup(x, f"{name}/grouped", split, merged))
        split = [batch, self._integers(-1, channels, group), area]
        merged = [self._integers(0, 0, -1), area]
        inner = self._regroup(inner, f"{name}/ungrouped", split, merged)
        return self._add("Add", [x, inner], name)

    def _attention(self, node: arch.NonLocal, x: str) -> str:
        """Adds what is added to x, before groups are put together again."""
        name, channels = node.name, node.theta.out_channels
        pooled = self._pool(node.pool, f"{name}/{node.pool.name}", x)
        theta = self._chain([node.theta], (name,), x)
        flat_theta, flat_phi, flat_g = (
            self._add("Reshape", [value, self._integers(0, 0, -1)], f"{value}/flat")
            for value in (
                theta,
                self._chain([node.phi], (name,), pooled),
                self._chain([node.g], (name,), pooled),
            )
        )
        rows = self._add("Transpose", [flat_theta], f"{theta}/rows", perm=(0, 2, 1))
        products = self._add("MatMul", [rows, flat_phi], f"{name}/products")
        root = self._constant("sqrt", np.array(math.sqrt(channels), "f4"), channels)
        scores = self._add("Div", [products, root], f"{name}/scores")
        weights = self._add("Softmax", [scores], f"{name}/weights", axis=-1)
        columns = self._add("Transpose", [weights], f"{name}/columns", perm=(0, 2, 1))
        sums = self._add("MatMul", [flat_g, columns], f"{name}/sums")
        sizes = self._add("Shape", [theta], f"{theta}/sizes")
        attended = self._add("Reshape", [sums, sizes], f"{name}/attended")
        return self._chain([node.out], (name,), attended)

    def _regroup(self, x: str, value: str, split: Sequence[str], merged: Sequence[str]) -> str:
        """Moves groups between the time axis and the batch; shapes are given in parts."""
        shape = self._add("Concat", split, f"{value}/split_shape", axis=0)
        x = self._add("Reshape", [x, shape], f"{value}/split")
        x = self._add("Transpose", [x], f"{value}/swapped", perm=_SWAP_GROUPS)
        shape = self._add("Concat", merged, f"{value}/shape", axis=0)
        return self._add("Reshape", [x, shape], value)

    def _each_channel(self, parameter: str) -> str:
        """Adds a parameter [C] as [C, 1, 1, 1]."""
        shape = self._integers(-1, 1, 1, 1)
        return self._add("Reshape", [parameter, shape], f"{parameter}/each_channel")

    def _integers(self, *values: int) -> str:
        return self._constant("integers", np.array(values, "i8"), *values)

    def _constant(self, name: str, array: Array, *values: int) -> str:
        full = f"{_CONSTANT}{'_'.join(map(str, (name, *(values or array.shape))))}"
        self.constants[full] = array
        return full

    def _add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output


def _window(node: arch.Conv | arch.Pool) -> dict[str, Any]:
    """Returns kernel, stride and padding."""
    window: dict[str, Any] = {"kernel_shape": node.kernel, "strides": node.stride}
    if node.padding == "same" and node.stride != (1, 1, 1):
        return {**window, "auto_pad": "SAME_UPPER"}
    # With a stride of 1 "same" is the same for every size.
    before, after = zip(*arch.pads((1, 1, 1), node.kernel, node.stride, node.padding), strict=True)
    return {**window, "pads": (*before, *after)}
