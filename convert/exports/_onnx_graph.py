"""The nodes of an ONNX graph that computes what a network's description means.

Values are [B, C, T, H, W], as in `i3d_torch/layers.py`. All sizes but the channels are free: where
an op needs one, the graph asks for it itself.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from common import arch
from convert.exports._onnx_messages import Attribute, node_message
from convert.formats._raw_values import Array

# The operators below mean the same from this version on. It is of November 2020, so that runtimes
# of long ago know it too; before it Softmax meant something else.
OPSET, IR_VERSION = 13, 7

CONSTANT = "constant/"
"""Starts the names of tensors that are no parameters."""

CLIPS, FEATURES, LOGITS, PREDICTIONS = "clips", "features", "logits", "predictions"
"""Names of the input and of what the head gives."""

TIME_STEPS = "time_steps"
"""Name of the logits of time steps, [B, T, classes], which no endpoint holds."""

_AREA = (3, 4)  # the axes H, W
_POSITIONS = (2, *_AREA)
_SWAP_GROUPS = (0, 2, 1, 3, 4, 5)  # [B, C, groups, T, H, W] and back

_Unit = tuple[str, ...]  # ("Mixed_3b", "Branch_0", "Conv3d_0a_1x1"); see `arch.Parameter`


class Graph:
    """The nodes of a network in the order they run, and the constants that they read.

    Attributes:
        nodes: Each as the bytes of its field in the graph.
        constants: Tensors that are no parameters, by name; nodes share those that are equal.
        output: The last value.
    """

    def __init__(self, net: arch.Network, end: str | None = None):
        """Adds the nodes from `CLIPS` to the endpoint `end` or to `TIME_STEPS`; None is logits."""
        self.nodes: list[bytes] = []
        self.constants: dict[str, Array] = {}
        self.output = CLIPS
        for node in net.nodes[:-1]:
            self.output = self._layer(node, (node.name,), self.output)
            if node.name == end:
                return
        self.output = self._head(net.head, self.output, end)

    def _head(self, head: arch.Head, x: str, end: str | None) -> str:
        if head.pool:
            features = self._pool(head.pool, FEATURES, x)
        else:
            features = self._mean(x, FEATURES, _POSITIONS, keep_axes=True)
        if end == head.features:
            return features
        scores = self._conv(head.conv, (head.name, head.conv.name), features)
        if end == TIME_STEPS:
            columns = self._mean(scores, f"{TIME_STEPS}/columns", _AREA, keep_axes=False)
            return self._transpose(columns, TIME_STEPS, (0, 2, 1))
        logits = self._mean(scores, LOGITS, _POSITIONS, keep_axes=False)
        if end == head.predictions:
            return self._add("Softmax", [logits], PREDICTIONS, {"axis": -1})
        return logits

    def _layer(self, node: arch.Node, path: _Unit, x: str) -> str:
        match node:
            case arch.Conv():
                return self._conv(node, path, x)
            case arch.Pool():
                return self._pool(node, "/".join(path), x)
            case arch.Branches():
                outputs = [self._chain(branch, (*path, name), x) for name, branch in node.branches]
                return self._add("Concat", outputs, node.name, {"axis": 1})
            case arch.Residual():
                y = self._chain(node.body, path, x)
                if node.shortcut:
                    x = self._chain([node.shortcut], path, x)
                both = self._add("Add", [y, x], f"{node.name}/Add")
                return self._add("Relu", [both], node.name)
            case arch.NonLocal():
                return self._non_local(node, x)
            case arch.Head():
                raise ValueError(f"{node.name}: a head can only be the last node")

    def _chain(self, chain: Sequence[arch.Conv | arch.Pool], path: _Unit, x: str) -> str:
        for node in chain:
            x = self._layer(node, (*path, node.name), x)
        return x

    def _conv(self, node: arch.Conv, unit: _Unit, x: str) -> str:
        value, own = "/".join(unit), ".".join(unit)
        kernel = [f"{own}.conv.weight", *([f"{own}.conv.bias"] if node.bias else [])]
        steps: list[tuple[str, list[str], Mapping[str, Attribute]]]
        steps = [("Conv", kernel, _window(node))]
        match node.norm:
            case arch.Norm(scale=scale, eps=eps):
                weight = f"{own}.norm.weight" if scale else self._ones(node.out_channels)
                others = (f"{own}.norm.{name}" for name in ("bias", "running_mean", "running_var"))
                steps.append(("BatchNormalization", [weight, *others], {"epsilon": eps}))
            case arch.Affine():
                steps.append(("Mul", [self._each_channel(unit, "norm.weight")], {}))
                steps.append(("Add", [self._each_channel(unit, "norm.bias")], {}))
        if node.relu:
            steps.append(("Relu", [], {}))
        for count, (op, inputs, attributes) in enumerate(steps, 1):
            output = value if count == len(steps) else f"{value}/{op}"
            x = self._add(op, [x, *inputs], output, attributes)
        return x

    def _pool(self, node: arch.Pool, value: str, x: str) -> str:
        """Padded cells never count in ONNX either."""
        if node.padding == "same" and any(
            stride > kernel for stride, kernel in zip(node.stride, node.kernel, strict=True)
        ):
            raise ValueError(
                f"{value}: a pool with padding 'same' and a stride above its kernel is not possible"
                f" in ONNX. Received: stride {node.stride}, kernel {node.kernel}."
            )
        op = {"max": "MaxPool", "average": "AveragePool"}[node.kind]
        return self._add(op, [x], value, _window(node))

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
        """What is added to x, before groups are put together again."""
        name, channels = node.name, node.theta.out_channels
        pooled = self._pool(node.pool, f"{name}/{node.pool.name}", x)
        theta = self._chain([node.theta], (name,), x)
        phi = self._chain([node.phi], (name,), pooled)
        g = self._chain([node.g], (name,), pooled)
        flat_theta, flat_phi, flat_g = (
            self._add("Reshape", [value, self._integers(0, 0, -1)], f"{value}/flat")
            for value in (theta, phi, g)
        )
        rows = self._transpose(flat_theta, f"{theta}/rows", (0, 2, 1))
        products = self._add("MatMul", [rows, flat_phi], f"{name}/products")
        root = self._constant(f"sqrt_{channels}", np.array(math.sqrt(channels), np.float32))
        scores = self._add("Div", [products, root], f"{name}/scores")
        weights = self._add("Softmax", [scores], f"{name}/weights", {"axis": -1})
        columns = self._transpose(weights, f"{name}/columns", (0, 2, 1))
        sums = self._add("MatMul", [flat_g, columns], f"{name}/sums")
        sizes = self._add("Shape", [theta], f"{theta}/sizes")
        attended = self._add("Reshape", [sums, sizes], f"{name}/attended")
        return self._chain([node.out], (name,), attended)

    def _regroup(self, x: str, value: str, split: Sequence[str], merged: Sequence[str]) -> str:
        """Moves groups between the time axis and the batch; shapes are given in parts."""
        shape = self._add("Concat", split, f"{value}/split_shape", {"axis": 0})
        x = self._add("Reshape", [x, shape], f"{value}/split")
        x = self._transpose(x, f"{value}/swapped", _SWAP_GROUPS)
        shape = self._add("Concat", merged, f"{value}/shape", {"axis": 0})
        return self._add("Reshape", [x, shape], value)

    def _transpose(self, x: str, value: str, axes: Sequence[int]) -> str:
        return self._add("Transpose", [x], value, {"perm": axes})

    def _mean(self, x: str, value: str, axes: Sequence[int], keep_axes: bool) -> str:
        attributes: dict[str, Attribute] = {"axes": axes, "keepdims": int(keep_axes)}
        return self._add("ReduceMean", [x], value, attributes)

    def _each_channel(self, unit: _Unit, field: str) -> str:
        """A parameter [C] as [C, 1, 1, 1]."""
        inputs = [".".join((*unit, field)), self._integers(-1, 1, 1, 1)]
        return self._add("Reshape", inputs, "/".join((*unit, field)))

    def _ones(self, size: int) -> str:
        return self._constant(f"ones_{size}", np.ones(size, np.float32))

    def _integers(self, *values: int) -> str:
        return self._constant("_".join(map(str, values)), np.array(values, np.int64))

    def _constant(self, name: str, array: Array) -> str:
        self.constants[CONSTANT + name] = array
        return CONSTANT + name

    def _add(
        self,
        op: str,
        inputs: Sequence[str],
        output: str,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        self.nodes.append(node_message(op, inputs, output, attributes or {}))
        return output


def _window(node: arch.Conv | arch.Pool) -> dict[str, Attribute]:
    """Kernel, stride and padding."""
    window: dict[str, Attribute] = {"kernel_shape": node.kernel, "strides": node.stride}
    if node.padding == "same" and node.stride != (1, 1, 1):
        return {**window, "auto_pad": "SAME_UPPER"}
    # With a stride of 1 "same" is the same for every size.
    before, after = zip(*arch.pads((1, 1, 1), node.kernel, node.stride, node.padding), strict=True)
    return {**window, "pads": (*before, *after)}
