"""ONNX models, written from a network's description.

    input    clips      [batch, channels, time, height, width], all free but the channels
    outputs  logits     [batch, classes], averaged over all positions
             features   [batch, channels, time, height, width], pooled

Parameters have their canonical names; nodes and values are named like endpoints or units. The
metadata say architecture, classes and smallest clip. Source: onnx.ai/onnx/repo-docs/IR.html.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import arch
from convert.arrays import Array
from convert.formats._raw import one_error

try:
    import onnx
    from onnx import NodeProto, TensorProto, helper, numpy_helper
except ImportError as error:
    raise ImportError(
        "an ONNX model needs the package onnx. In a checkout: pip install '.[onnx]'"
    ) from error

# The first version in which Softmax means what it does today; of November 2020.
OPSET, IR_VERSION = 13, 7

CLIPS, LOGITS, FEATURES = "clips", "logits", "features"

_CONSTANT = "constant/"  # starts the names of tensors that are no parameters
_POSITIONS = (2, 3, 4)  # the axes T, H, W
_POOLS = {"max": "MaxPool", "average": "AveragePool"}


def write(path: Path, net: arch.Network, arrays: Mapping[str, Array]) -> None:
    """Writes a network with its weights; the same arrays give the same bytes."""
    with one_error(Path(path)):
        arch.check_arrays(net, arrays)
        graph = _Graph(net)
        tensors = {p.name: arrays[p.name] for p in arch.parameters(net)} | graph.constants
        model = helper.make_model(
            graph.proto(tensors),
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="i3d",
        )
        smallest = "x".join(map(str, arch.smallest_size(net)))  # T, H, W
        about = {"architecture": net.name, "num_classes": str(net.num_classes)}
        helper.set_model_props(model, {**about, "smallest_clip": smallest})
        path.write_bytes(model.SerializeToString(deterministic=True))


def read_back(path: Path, net: arch.Network) -> dict[str, Array]:
    """Returns the parameters in a file of `write`; CheckpointError if it is damaged."""
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


class _Graph:
    def __init__(self, net: arch.Network):
        self.net = net
        self.parameters = {parameter.name for parameter in arch.parameters(net)}
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        x = self._chain(net.nodes[:-1], (), CLIPS)
        head = net.head
        if head.pool:
            x = self._pool(head.pool, FEATURES, x)
        else:
            x = self._add("ReduceMean", [x], FEATURES, axes=_POSITIONS, keepdims=1)
        x = self._conv(head.conv, (head.name, head.conv.name), x)
        self._add("ReduceMean", [x], LOGITS, axes=_POSITIONS, keepdims=0)

    def proto(self, tensors: Mapping[str, Array]) -> onnx.GraphProto:
        net = self.net
        channels = arch.endpoint_shapes(net, arch.smallest_size(net))[net.head.features][-1]
        axes = ("time", "height", "width")
        free = [f"{FEATURES}_{axis}" if net.head.pool else 1 for axis in axes]
        clips, *outputs = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
            for name, shape in (
                (CLIPS, [net.in_channels, *axes]),
                (LOGITS, [net.num_classes]),
                (FEATURES, [channels, *free]),
            )
        )
        stored = [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in tensors.items()]
        return helper.make_graph(self.nodes, net.name, [clips], outputs, stored)

    def _chain(self, chain: Sequence[arch.Node], path: tuple[str, ...], x: str) -> str:
        for node in chain:
            x = self._layer(node, (*path, node.name), x)
        return x

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
        raise ValueError(f"{node.name}: a head can only be the last node")

    def _conv(self, node: arch.Conv, unit: tuple[str, ...], x: str) -> str:
        value, own = "/".join(unit), ".".join(unit)
        kernel = [f"{own}.conv.weight", *([f"{own}.conv.bias"] if node.bias else [])]
        steps: list[tuple[str, list[str | Array], dict[str, Any]]]
        steps = [("Conv", [*kernel], _window(node))]
        if node.norm:
            # A scale and offset alone are a norm with a mean of 0 and a variance of 1.
            fields = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
            names = {field: f"{own}.norm.{field}" for field in fields}
            inputs: list[str | Array] = [
                name if name in self.parameters else np.full(node.out_channels, fields[field], "f4")
                for field, name in names.items()
            ]
            eps = node.norm.eps if isinstance(node.norm, arch.Norm) else 0.0
            steps.append(("BatchNormalization", inputs, {"epsilon": eps}))
        if node.relu:
            steps.append(("Relu", [], {}))
        for count, (op, inputs, attributes) in enumerate(steps, 1):
            output = value if count == len(steps) else f"{value}/{op}"
            x = self._add(op, [x, *inputs], output, **attributes)
        return x

    def _pool(self, node: arch.Pool, value: str, x: str) -> str:
        return self._add(_POOLS[node.kind], [x], value, **_window(node))

    def _non_local(self, node: arch.NonLocal, x: str) -> str:
        name = node.name
        pooled = self._pool(node.pool, f"{name}/{node.pool.name}", x)
        theta, phi, g = (
            self._chain([conv], (name,), value)
            for conv, value in ((node.theta, x), (node.phi, pooled), (node.g, pooled))
        )
        queries, keys, values = (self._flat(value, node.group) for value in (theta, phi, g))
        equation = "...cn,...cm->...nm"
        products = self._add("Einsum", [queries, keys], f"{name}/products", equation=equation)
        root = np.array(math.sqrt(node.theta.out_channels), np.float32)
        scores = self._add("Div", [products, root], f"{name}/scores")
        weights = self._add("Softmax", [scores], f"{name}/weights", axis=-1)
        equation = "...cm,...nm->...cn"
        sums = self._add("Einsum", [values, weights], f"{name}/sums", equation=equation)
        if node.group:
            split = np.array([0, 0, 0, node.group, -1])
            sums = self._add("Reshape", [sums, split], f"{name}/steps")
            # [groups, B, C, group, N] to [B, C, groups, group, N]
            sums = self._add("Transpose", [sums], f"{name}/ungrouped", perm=(1, 2, 0, 3, 4))
        sizes = self._add("Shape", [theta], f"{theta}/sizes")
        attended = self._add("Reshape", [sums, sizes], f"{name}/attended")
        return self._add("Add", [x, self._chain([node.out], (name,), attended)], name)

    def _flat(self, x: str, group: int | None) -> str:
        """Adds [B, C, T, H, W] as [B, C, N], or for groups of time steps [groups, B, C, N]."""
        if not group:
            return self._add("Reshape", [x, np.array([0, 0, -1])], f"{x}/flat")
        y = self._add("Reshape", [x, np.array([0, 0, 0, -1])], f"{x}/positions")
        y = self._add("Transpose", [y], f"{x}/time", perm=(2, 0, 1, 3))
        y = self._add("Unsqueeze", [y, np.array([1])], f"{x}/single")
        y = self._add("Reshape", [y, np.array([-1, group, 0, 0, 0])], f"{x}/split")
        # [groups, group, B, C, N] to [groups, B, C, group, N]
        y = self._add("Transpose", [y], f"{x}/grouped", perm=(0, 2, 3, 1, 4))
        return self._add("Reshape", [y, np.array([0, 0, 0, -1])], f"{x}/flat")

    def _add(self, op: str, inputs: Sequence[str | Array], output: str, **attributes: Any) -> str:
        """Adds a node that makes `output`; arrays among its inputs become constants."""
        names = []
        for place, x in enumerate(inputs):
            names.append(x if isinstance(x, str) else f"{_CONSTANT}{output}/{place}")
            if not isinstance(x, str):
                self.constants[names[-1]] = x
        self.nodes.append(helper.make_node(op, names, [output], name=output, **attributes))
        return output


def _window(node: arch.Conv | arch.Pool) -> dict[str, Any]:
    window: dict[str, Any] = {"kernel_shape": node.kernel, "strides": node.stride}
    if node.padding == "same" and node.stride != (1, 1, 1):
        return {**window, "auto_pad": "SAME_UPPER"}
    before, after = zip(*arch.pads((1, 1, 1), node.kernel, node.stride, node.padding), strict=True)
    return {**window, "pads": (*before, *after)}
