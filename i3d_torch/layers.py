"""One layer class a node kind; the twin of `i3d_tf/layers.py`.

Tensors are [B, C, T, H, W]. Names of submodules are those of the description, so that the state
dict's keys are the canonical parameter names.
"""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import arch
from i3d_torch.batch_norm import BatchNorm


class Affine(nn.Module):
    """A scale and an offset for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        each = (-1, 1, 1, 1)
        return (x * self.weight.view(each) + self.bias.view(each)).to(x.dtype)


class Conv(nn.Module):
    """Convolution, then batch norm and ReLU where the node has them."""

    def __init__(self, node: arch.Conv, in_channels: int):
        super().__init__()
        self.node = node
        self.out_channels = node.out_channels
        self.conv = nn.Conv3d(in_channels, node.out_channels, node.kernel, bias=node.bias)
        match node.norm:
            case arch.Norm() as norm:
                self.norm = BatchNorm(norm, node.out_channels)
            case _:
                self.norm = Affine(node.out_channels) if node.norm else None
        # The release's initial values, which are Sonnet's: truncated normal, 1 / sqrt(fan-in).
        std = 1 / math.sqrt(in_channels * math.prod(node.kernel))
        nn.init.trunc_normal_(self.conv.weight, std=std, a=-2 * std, b=2 * std)
        if node.bias:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Convolves [B, C, T, H, W]; a residual block has `added` summed in before a ReLU."""
        x, padding = pad_unevenly(x, self.node)
        x = F.conv3d(x, self.conv.weight, self.conv.bias, self.node.stride, padding)
        if self.norm:
            x = self.norm(x)
        if added is not None:
            x = x.add_(added)
        return F.relu_(x) if self.node.relu or added is not None else x


class Pool(nn.Module):
    """Max or average pool; padded cells never count."""

    def __init__(self, node: arch.Pool, in_channels: int):
        super().__init__()
        self.node = node
        self.out_channels = in_channels

    def forward(self, x: Tensor) -> Tensor:
        if self.node.kind == "max":
            return _max_pool(x, self.node)
        kernel, stride = self.node.kernel, self.node.stride
        pads = arch.pads(x.shape[2:], kernel, stride, self.node.padding)
        padded = F.avg_pool3d(_pad(x, pads), kernel, stride)
        if self.node.padding == (0, 0, 0):
            return padded
        filled = _pad(torch.ones_like(x[:1, :1]), pads)
        return padded / F.avg_pool3d(filled, kernel, stride)


class Branches(nn.Module):
    """Runs all branches on the same input and concatenates their channels."""

    def __init__(self, node: arch.Branches, in_channels: int):
        super().__init__()
        self.node = node
        self.out_channels = 0
        for name, branch in node.branches:
            self.add_module(name, nn.Sequential())
            self.out_channels += add_layers(self.get_submodule(name), branch, in_channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(name)(x) for name, _ in self.node.branches], dim=1)


class Residual(nn.Module):
    """Adds what the body makes of the input to the input, or to its projection."""

    def __init__(self, node: arch.Residual, in_channels: int):
        super().__init__()
        self.node = node
        self.out_channels = add_layers(self, node.body, in_channels)
        if node.shortcut:
            add_layers(self, [node.shortcut], in_channels)

    def forward(self, x: Tensor) -> Tensor:
        *first, last = (self.get_submodule(conv.name) for conv in self.node.body)
        y = x
        for conv in first:
            y = conv(y)
        shortcut = self.node.shortcut
        return last(y, self.get_submodule(shortcut.name)(x) if shortcut else x)


class NonLocal(nn.Module):
    """Adds to every position what it attends to."""

    def __init__(self, node: arch.NonLocal, in_channels: int):
        super().__init__()
        self.node = node
        self.out_channels = in_channels
        self.pool = Pool(node.pool, in_channels)
        for conv in (node.theta, node.phi, node.g):
            self.add_module(conv.name, Conv(conv, in_channels))
        self.add_module(node.out.name, Conv(node.out, node.theta.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        b, c, t, h, w = x.shape
        group = self.node.group or t
        groups = t // group
        # Groups of time steps stand side by side in the batch.
        inner = x.reshape(b, c, groups, group, h, w).transpose(1, 2).flatten(0, 1)
        inner = self._attend(inner)
        inner = inner.unflatten(0, (b, groups)).transpose(1, 2).reshape(b, -1, t, h, w)
        return x + self.get_submodule(self.node.out.name)(inner)

    def _attend(self, x: Tensor) -> Tensor:
        pooled = self.pool(x)
        theta = self.get_submodule(self.node.theta.name)(x)
        phi = self.get_submodule(self.node.phi.name)(pooled).flatten(2)
        g = self.get_submodule(self.node.g.name)(pooled).flatten(2)
        scores = theta.flatten(2).transpose(1, 2) @ phi / math.sqrt(theta.shape[1])
        attention = torch.softmax(scores, dim=-1)
        return (g @ attention.transpose(1, 2)).view_as(theta)


class Head(nn.Module):
    """Pooled features, and from them logits averaged over all positions; in float32.

    The classifier is small, and torch has no average pool in bfloat16 on a CPU.
    """

    def __init__(self, node: arch.Head, in_channels: int):
        super().__init__()
        self.node = node
        self.out_channels = node.conv.out_channels
        self.pool = Pool(node.pool, in_channels) if node.pool else None
        self.add_module(node.conv.name, Conv(node.conv, in_channels))

    def features(self, x: Tensor) -> Tensor:
        """Pools [B, C, T, H, W]: one vector for each position of the window."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return self.pool(x) if self.pool else x.mean(dim=(2, 3, 4), keepdim=True)

    def time_steps(self, features: Tensor, dropout: Tensor | None = None) -> Tensor:
        """Turns features [B, C, T, H, W] into the logits of time steps, [B, T, num_classes].

        `dropout` multiplies the features, whose shape it has: 0, or 1 / (1 - rate). None leaves it
        to torch, which drops in training at the node's rate.
        """
        if dropout is None:
            x = F.dropout(features, self.node.dropout, self.training)
        else:
            x = features * dropout
        with torch.autocast(x.device.type, enabled=False):
            x = self.get_submodule(self.node.conv.name)(x)
        return x.mean(dim=(3, 4)).transpose(1, 2)

    def forward(self, features: Tensor, dropout: Tensor | None = None) -> Tensor:
        """Turns features [B, C, T, H, W] into logits [B, num_classes]; see `time_steps`."""
        return self.time_steps(features, dropout).mean(dim=1)


LAYERS = {
    arch.Conv: Conv,
    arch.Pool: Pool,
    arch.Branches: Branches,
    arch.Residual: Residual,
    arch.NonLocal: NonLocal,
    arch.Head: Head,
}


def add_layers(module: nn.Module, nodes: Iterable[arch.Node], in_channels: int) -> int:
    """Adds the layers of nodes that follow each other; returns the channels of the last one."""
    for node in nodes:
        layer = LAYERS[type(node)](node, in_channels)
        module.add_module(node.name, layer)
        in_channels = layer.out_channels
    return in_channels


def pad_unevenly(x: Tensor, node: arch.Conv) -> tuple[Tensor, tuple[int, ...]]:
    """Pads by what one side has more, and returns the padding left to the op, which copies nothing.

    Where an input is hardly larger than its padding all of it is added here: there, oneDNN's
    gradient of a bfloat16 kernel is wrong.
    """
    pads = arch.pads(x.shape[2:], node.kernel, node.stride, node.padding)
    both = tuple(
        min(pair) if size > sum(pair) else 0 for pair, size in zip(pads, x.shape[2:], strict=True)
    )
    uneven = [(before - n, after - n) for (before, after), n in zip(pads, both, strict=True)]
    return _pad(x, uneven), both


def _max_pool(x: Tensor, node: arch.Pool) -> Tensor:
    """Max pool that leaves the padding to the op, where the op can."""
    pads = arch.pads(x.shape[2:], node.kernel, node.stride, node.padding)
    before = tuple(first for first, _ in pads)
    beyond = any(first != last for first, last in pads)
    # The op pads both sides alike by at most half a window. With `ceil_mode` a last window may
    # reach beyond the end by the one cell that "same" has more there.
    fits = all(2 * cells <= size for cells, size in zip(before, node.kernel, strict=True))
    if fits and (not beyond or node.padding == "same"):
        return F.max_pool3d(x, node.kernel, node.stride, before, ceil_mode=beyond)
    return F.max_pool3d(_pad(x, pads, -math.inf), node.kernel, node.stride)


def _pad(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Pads [B, C, T, H, W] along T, H, W, each by cells (before, after)."""
    last_axis_first = [cells for pair in reversed(pads) for cells in pair]
    return F.pad(x, last_axis_first, value=value) if any(last_axis_first) else x
