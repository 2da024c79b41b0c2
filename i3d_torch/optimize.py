"""Models sped up: the same function in fewer passes over memory; twin of `i3d_tf/optimize.py`.

What takes the time of a plain model beside its convolutions are batch norm, copies for padding,
kernels that are put in order anew at each call, and pools in the layout that torch calls
contiguous. On a CPU an optimised model is as fast as a compiled one, and needs no compiler.
"""

import contextlib
from collections.abc import Collection

import torch
import torch.nn.functional as F
from absl import logging
from torch import Tensor, nn
from torch.utils import checkpoint

from common import arch, processors
from common.training import recipes, running_statistics
from i3d_torch import layers, weights
from i3d_torch.model import Step, VideoModel, blank

PRECISIONS = {name: getattr(torch, name) for name in recipes.PRECISIONS}

_LAYOUT = torch.channels_last_3d
_DILATION, _GROUPS = (1, 1, 1), 1

_Outputs = tuple[Tensor, dict[str, Tensor]]


def optimize(
    model: VideoModel,
    precision: str = "float32",
    endpoints: Collection[str] | None = None,
) -> VideoModel:
    """A copy of a model for inference: batch norm folded, no copies to pad, channels last.

    It takes and gives what the model does, on the model's device; endpoints before the head are in
    `precision`. In float32, results differ by what float32 rounds.

    Args:
        model: Stays as it is.
        precision: One of `PRECISIONS`; the head computes in float32.
        endpoints: Those that a call returns, so that the memory of others is free at once; None
            are the model's.

    Raises:
        ValueError: A batch norm cannot be folded, or there is no such precision.
    """
    recipes.check_precision(precision)
    dtype = PRECISIONS[precision]
    place = next(model.parameters()).device
    if precision == "float16" and place.type == "cpu" and not processors.has_float16():
        logging.warning(recipes.NO_FLOAT16)
    net, arrays = arch.folded(model.net, weights.arrays(model))
    fast = blank(lambda: _Inference(net, dtype), place)
    fast = fast.eval().requires_grad_(False)
    fast.returned = model.returned if endpoints is None else tuple(endpoints)
    weights.assign(fast, arrays)
    head = fast.get_submodule(net.head.name)
    for layer in fast.children():
        if layer is not head:
            layer.to(dtype, memory_format=_LAYOUT)
    _replace(fast, {layers.Conv: _FoldedConv, layers.Residual: _Residual, layers.Pool: _Pool})
    return fast


def training_model(net: arch.Network, recompute: bool = False) -> VideoModel:
    """Makes a model with initial values whose training is fast: no copies to pad, channels last.

    Args:
        net: The network.
        recompute: Keeps the outputs of endpoints alone for the backward pass, and computes what
            lies between once more: less memory, up to 40 % more time. Known as activation
            checkpointing: Chen et al., 2016, https://arxiv.org/abs/1604.06174.
    """
    model = _Recomputing(net) if recompute else VideoModel(net)
    _replace(model, {layers.Conv: _Conv, layers.Pool: _Pool})
    model = model.to(memory_format=_LAYOUT)
    return model


class _Recomputing(VideoModel):
    """A model that keeps the outputs of endpoints alone."""

    def _steps(self, dropout: Tensor | None) -> list[tuple[str, Step]]:
        *trunk, features, logits, predictions = super()._steps(dropout)
        trunk = [(name, _recomputed(step)) for name, step in trunk]
        return [*trunk, features, logits, predictions]


def _recomputed(step: Step) -> Step:
    """What a step computes, once more in the backward pass."""

    def contexts() -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
        # Of the first computation and of the second: statistics are averaged already.
        return contextlib.nullcontext(), running_statistics.kept()

    def run(x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return step(x)
        return checkpoint.checkpoint(step, x, use_reentrant=False, context_fn=contexts)

    return run


class _Inference(VideoModel):
    """A model that computes in another precision than it is fed, `dtype`."""

    def __init__(self, net: arch.Network, dtype: torch.dtype):
        super().__init__(net)
        self.dtype = dtype

    def forward(
        self, clips: Tensor, final_endpoint: str | None = None, dropout: Tensor | None = None
    ) -> _Outputs:
        return super().forward(clips.to(self.dtype), final_endpoint, dropout)


class _Conv(nn.Module):
    """A convolution that pads by itself, as far as its op can."""

    def __init__(self, layer: layers.Conv):
        super().__init__()
        self.node = layer.node
        self.out_channels = layer.out_channels
        self.conv = layer.conv
        self.norm = layer.norm

    def forward(self, x: Tensor) -> Tensor:
        x, around = _padded(x, self.node)
        x = F.conv3d(x, self.conv.weight, self.conv.bias, self.node.stride, around)
        if self.norm:
            x = self.norm(x)
        return F.relu_(x) if self.node.relu else x


class _FoldedConv(nn.Module):
    """A convolution without batch norm, in one op on a CPU: its kernel is packed but once.

    Attributes:
        kernel: In the layout of channels last, until it is packed.
        bias: [C].
        packs: Whether it is packed where oneDNN takes it.
    """

    def __init__(self, layer: layers.Conv):
        super().__init__()
        self.node = layer.node
        self.out_channels = layer.out_channels
        self.kernel = layer.conv.weight.detach()  # no parameter: packed, torch cannot move it
        self.bias = layer.conv.bias
        self.packs = True
        self.packed = False

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Convolves [B, C, T, H, W]; `added` is what is added before the ReLU there then is."""
        x, around = _padded(x, self.node)
        relu = self.node.relu or added is not None
        if not self.packed and not (self.packs and _onednn(x)):
            x = F.conv3d(x, self.kernel, self.bias, self.node.stride, around)
            x = x if added is None else x.add_(added)
            return F.relu_(x) if relu else x
        window = around, self.node.stride, _DILATION, _GROUPS
        if not self.packed:  # for clips of this size; others take it, too
            self.kernel = torch._C._nn.mkldnn_reorder_conv3d_weight(
                self.kernel.to_mkldnn(), *window, x.shape
            )
            self.packed = True
        op = torch.ops.mkldnn._convolution_pointwise
        if added is None:
            return op(x, self.kernel, self.bias, *window, "relu" if relu else "none", [], "")
        added = added.contiguous(memory_format=_LAYOUT)
        return op.binary(x, added, self.kernel, self.bias, *window, "add", None, "relu", [], None)


class _Residual(nn.Module):
    """A residual block whose last convolution adds the shortcut."""

    def __init__(self, layer: layers.Residual):
        super().__init__()
        self.node = layer.node
        self.out_channels = layer.out_channels
        for name, part in layer.named_children():
            self.add_module(name, _FoldedConv(part))

    def forward(self, x: Tensor) -> Tensor:
        *first, last = (self.get_submodule(conv.name) for conv in self.node.body)
        y = x
        for conv in first:
            y = conv(y)
        shortcut = self.node.shortcut
        return last(y, self.get_submodule(shortcut.name)(x) if shortcut else x)


class _Pool(nn.Module):
    """A pool that pads by itself, where its op can."""

    def __init__(self, layer: layers.Pool):
        super().__init__()
        self.plain = layer
        self.node = layer.node
        self.out_channels = layer.out_channels

    def forward(self, x: Tensor) -> Tensor:
        node = self.node
        pads = arch.pads(x.shape[2:], node.kernel, node.stride, node.padding)
        before = tuple(first for first, _ in pads)
        beyond = [last - first for first, last in pads]
        # The op pads both sides alike, at most half a window, and may go beyond the end where a
        # stride leaves something there; "same" has at most one cell more there.
        fits = all(2 * cells <= size for cells, size in zip(before, node.kernel, strict=True))
        if node.kind != "max" or not fits or (any(beyond) and node.padding != "same"):
            return self.plain(x)
        return F.max_pool3d(x, node.kernel, node.stride, before, ceil_mode=any(beyond))


def _replace(model: nn.Module, by: dict[type[nn.Module], type[nn.Module]]) -> None:
    """Replaces layers by kind, in place; what is in one that is replaced is up to it."""
    for name, layer in list(model.named_children()):
        if type(layer) in by:
            setattr(model, name, by[type(layer)](layer))
        else:
            _replace(layer, by)


def _padded(x: Tensor, node: arch.Conv) -> tuple[Tensor, tuple[int, int, int]]:
    """The input, channels last, with the cells that one side has more; and those of both sides."""
    x = x.contiguous(memory_format=_LAYOUT)
    pads = arch.pads(x.shape[2:], node.kernel, node.stride, node.padding)
    # Where there is hardly more than padding, oneDNN's gradient of a kernel in bfloat16 is wrong.
    around = tuple(
        min(pair) if size > sum(pair) else 0 for pair, size in zip(pads, x.shape[2:], strict=True)
    )
    uneven = [
        cells - both
        for pair, both in reversed(list(zip(pads, around, strict=True)))
        for cells in pair
    ]
    return F.pad(x, uneven) if any(uneven) else x, around


def _onednn(x: Tensor) -> bool:
    """Whether oneDNN, which inductor calls by the same op, convolves what is like `x`."""
    ops = torch.ops.mkldnn
    if (
        not x.is_cpu
        or not torch.backends.mkldnn.is_available()
        or not hasattr(ops, "_convolution_pointwise")
    ):
        return False
    return {
        torch.float32: lambda: True,
        torch.bfloat16: ops._is_mkldnn_bf16_supported,
        torch.float16: ops._is_mkldnn_fp16_supported,
    }[x.dtype]()
