"""Faster models with the same results, for inference and training; twin of `i3d_tf/optimize.py`.

Beside its convolutions a plain model spends its time on batch norm, on reordering kernels at each
call, and on pools in the layout that PyTorch calls contiguous.
"""

import contextlib
from collections.abc import Collection

import torch
import torch.nn.functional as F
from absl import logging
from torch import Tensor, nn
from torch.utils import checkpoint

from common import arch, hardware, models
from common.training import running_statistics
from i3d_torch import layers, weights
from i3d_torch.model import Step, VideoModel, blank

PRECISIONS = {name: getattr(torch, name) for name in models.PRECISIONS}

_LAYOUT = torch.channels_last_3d


@torch.inference_mode(False)  # whose tensors have no version: see `_InferenceConv`
def optimize(
    model: VideoModel, precision: str = "float32", endpoints: Collection[str] | None = None
) -> VideoModel:
    """A copy of a model for inference: batch norm folded, channels last, kernels reordered once.

    It is called as the model is and stays on its device. In float32 its results differ by rounding
    alone; endpoints before the head are in `precision`.

    Args:
        model: Any model, which is not changed.
        precision: One of `PRECISIONS`; the head computes in float32.
        endpoints: The endpoints that a call returns, so that the memory of the others is freed
            early; None returns those that the model does.

    Raises:
        ValueError: A weight is not finite, a batch norm cannot be folded, or an unknown precision.
    """
    models.check_precision(precision)
    dtype = PRECISIONS[precision]
    place = next(model.parameters()).device
    if precision == "float16" and place.type == "cpu" and not hardware.has_float16():
        logging.warning(models.NO_FLOAT16)
    net, arrays = arch.folded(model.net, weights.arrays(model))
    fast = blank(lambda: _Inference(net, dtype), place).eval().requires_grad_(False)
    weights.assign(fast, arrays)
    fast.returned = model.returned if endpoints is None else tuple(endpoints)
    for name, layer in fast.named_children():
        if name != net.head.name:
            layer.to(dtype, memory_format=_LAYOUT)
    _fuse(fast)
    return fast


def training_model(net: arch.Network, recompute: bool = False) -> VideoModel:
    """Makes a model with initial values for training, with channels last.

    Args:
        net: The network.
        recompute: Keep only the outputs of endpoints for the backward pass and compute what lies
            between them a second time: less memory, up to 40 % more time. Known as activation
            checkpointing: Chen et al., 2016, https://arxiv.org/abs/1604.06174.
    """
    model = _Recomputing(net) if recompute else VideoModel(net)
    return model.to(memory_format=_LAYOUT)


class _Recomputing(VideoModel):
    """A model that keeps only the outputs of endpoints for the backward pass."""

    def _steps(self, dropout: Tensor | None) -> list[tuple[str, Step]]:
        *trunk, features, logits, predictions = super()._steps(dropout)
        trunk = [(name, _recomputed(step)) for name, step in trunk]
        return [*trunk, features, logits, predictions]


def _recomputed(step: Step) -> Step:
    """A step whose activations are computed a second time in the backward pass."""

    def contexts() -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
        # For the first pass and the second, in which statistics have been averaged already.
        return contextlib.nullcontext(), running_statistics.kept()

    def run(x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return step(x)
        return checkpoint.checkpoint(step, x, use_reentrant=False, context_fn=contexts)

    return run


class _Inference(VideoModel):
    """A model for inference that computes in another precision than that of its clips, `dtype`."""

    def __init__(self, net: arch.Network, dtype: torch.dtype):
        super().__init__(net)
        self.dtype = dtype

    def forward(
        self, clips: Tensor, final_endpoint: str | None = None, dropout: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        arch.check_dtype(self.net, str(clips.dtype).removeprefix("torch."))
        # The fused ops make 0 of NaN.
        if not torch.isfinite(clips.sum(dtype=torch.float32)):
            raise ValueError(f"{self.net.name}: {arch.NOT_FINITE}")
        x = clips.to(self.dtype, memory_format=_LAYOUT)
        return super().forward(x, final_endpoint, dropout)


class _InferenceConv(nn.Module):
    """A convolution with bias, ReLU and a residual sum in one op where oneDNN computes it.

    oneDNN reorders the kernel at the first call and after each change of the weights.
    """

    def __init__(self, layer: layers.Conv):
        super().__init__()
        self.node = layer.node
        self.out_channels = layer.out_channels
        self.conv = layer.conv
        self._packed: tuple[Tensor, object] | None = None  # the reordered kernel, and of what

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Convolves [B, C, T, H, W]; a residual block has `added` summed in before a ReLU."""
        x, padding = layers.pad_unevenly(x.contiguous(memory_format=_LAYOUT), self.node)
        relu = self.node.relu or added is not None
        kernel, bias = self.conv.weight, self.conv.bias
        if not _onednn(x):
            x = F.conv3d(x, kernel, bias, self.node.stride, padding)
            x = x if added is None else x.add_(added)
            return F.relu_(x) if relu else x
        window = padding, self.node.stride, (1, 1, 1), 1  # dilation and groups
        kernel = self._reordered(window, x.shape)
        op = torch.ops.mkldnn._convolution_pointwise
        if added is None:
            return op(x, kernel, bias, *window, "relu" if relu else "none", [], "")
        added = added.contiguous(memory_format=_LAYOUT)
        return op.binary(x, added, kernel, bias, *window, "add", None, "relu", [], None)

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), "_packed": None}  # opaque: neither copied nor saved

    def _reordered(self, window: tuple, shape: torch.Size) -> Tensor:
        """The kernel in the order that is best for clips of `shape`; others may use it, too."""
        weight = self.conv.weight.detach()
        changes = 0 if weight.is_inference() else weight._version
        version = weight.dtype, weight.data_ptr(), changes
        if self._packed is None or self._packed[1] != version:
            packed = torch._C._nn.mkldnn_reorder_conv3d_weight(weight.to_mkldnn(), *window, shape)
            self._packed = packed, version
        return self._packed[0]


def _fuse(module: nn.Module) -> None:
    """Replaces the convolutions in a module by those for inference."""
    for name, layer in list(module.named_children()):
        if isinstance(layer, layers.Conv):
            setattr(module, name, _InferenceConv(layer))
        else:
            _fuse(layer)


def _onednn(x: Tensor) -> bool:
    """Whether oneDNN convolves tensors like `x`."""
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
