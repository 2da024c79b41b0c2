"""Batch norm in training and inference; the twin of `i3d_tf/batch_norm.py`.

Where channels lie last, torch adds up a channel on a CPU value by value, in float32: of a sum over
a million values five digits are right. `_Normalised` makes the same ops add up each column of the
picture by itself, and adds those sums in float64: seven digits, without the copies that the other
layout would take.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import function

from common import arch
from common.training import recipes, running_statistics

_CELLS = 2**19  # of a part of a tensor that stays in the cache: 2 MiB


class BatchNorm(nn.Module):
    """Batch norm whose running variance is averaged as TensorFlow does: from the biased one.

    Attributes:
        mode: What it does in training; see `set_mode`.
    """

    def __init__(self, norm: arch.Norm, channels: int):
        super().__init__()
        self.norm = norm
        self.mode = "train"
        initial = torch.full([channels], norm.initial_scale)
        self.weight = nn.Parameter(initial) if norm.scale else None
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self._by_torch(x, self.running_mean, self.running_var)
        if self.mode == "freeze":
            return self._by_given(x)
        return self._synchronised(x) if self.mode == "sync" else self._by_batch(x)

    def _by_given(self, x: Tensor) -> Tensor:
        """Normalises with the running statistics."""
        if not _adds_up_badly(x):
            return self._by_torch(x, self.running_mean, self.running_var)
        return self._in_columns(x, self.running_mean, self.running_var, are_of_x=False)

    def _by_batch(self, x: Tensor) -> Tensor:
        """Normalises with the statistics of the batch."""
        if _adds_up_badly(x):
            mean, var = _statistics(x.detach())
            y = self._in_columns(x, mean, var, are_of_x=True)
        else:
            # With momentum 1 the op hands out the batch's own statistics.
            mean, var = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
            y = self._by_torch(x, mean, var, training=True)
            count = x.numel() // x.shape[1]
            # The op reports the unbiased variance, n / (n - 1) of the biased one.
            var = var * ((count - 1) / count)
        self._average(mean, var)
        return y

    def _synchronised(self, x: Tensor) -> Tensor:
        """Normalises with the statistics of all replicas' batches, which are of one size."""
        each = (-1, 1, 1, 1)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _MeanOverReplicas.apply(values.mean(dim=(0, 2, 3, 4)))
        centred = values - mean.view(each)
        var = _MeanOverReplicas.apply(centred.square().mean(dim=(0, 2, 3, 4)))
        self._average(mean, var)
        scale = torch.rsqrt(var + self.norm.eps)
        if self.weight is not None:
            scale = scale * self.weight
        return (centred * scale.view(each) + self.bias.view(each)).to(x.dtype)

    @torch.no_grad()
    def _average(self, mean: Tensor, var: Tensor) -> None:
        # A compiled model is not one that recomputes, and its graph would break in two here.
        if not torch.compiler.is_compiling() and running_statistics.are_kept():
            return
        self.running_mean.lerp_(mean, self.norm.momentum)
        self.running_var.lerp_(var, self.norm.momentum)

    def _by_torch(self, x: Tensor, mean: Tensor, var: Tensor, training: bool = False) -> Tensor:
        eps = self.norm.eps
        return F.batch_norm(x, mean, var, self.weight, self.bias, training, momentum=1.0, eps=eps)

    def _in_columns(self, x: Tensor, mean: Tensor, var: Tensor, are_of_x: bool) -> Tensor:
        return _Normalised.apply(x, mean, var, self.weight, self.bias, self.norm.eps, are_of_x)


def set_mode(module: nn.Module, mode: str) -> None:
    """Says what all batch norms in a model or layer do in training.

    Args:
        module: The model or layer.
        mode: "train" normalises with the statistics of the batch and averages them; "freeze" with
            the running ones, which stay as they are, while scale and offset still train; "sync"
            is "train" over the batches of all replicas, the ranks of the default process group.

    Raises:
        ValueError: There is no such mode.
    """
    recipes.check_batch_norm(mode)
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.mode = mode


def _adds_up_badly(x: Tensor) -> bool:
    """Whether torch's sums over x have fewer digits than its values; see the module."""
    if torch.compiler.is_compiling():
        return False  # inductor has sums of its own
    last = x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
    return last and x.is_cpu and x.dtype == torch.float32


class _Normalised(torch.autograd.Function):
    """What is [B, C, T, H, W], channels last, by a mean and a biased variance, [C] each.

    Its gradient is that of batch norm: where the statistics are those of x (`are_of_x`), it goes
    through them too.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        weight: Tensor | None,
        bias: Tensor,
        eps: float,
        are_of_x: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, mean, var, weight)
        ctx.eps, ctx.are_of_x = eps, are_of_x
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    @function.once_differentiable
    def backward(ctx, dy: Tensor):
        x, mean, var, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last_3d)
        invstd = torch.rsqrt(var.double() + ctx.eps)
        scale = invstd if weight is None else invstd * weight
        dweight, dbias = _summed(dy, x, mean, var, ctx.eps)
        if ctx.are_of_x:
            # scale * (dy - mean(dy) - normalised * mean(dy * normalised)), where normalised is
            # (x - mean) * invstd, is scale * dy + slope * x + offset.
            count = x.numel() // x.shape[1]
            slope = -scale * invstd * dweight / count
            offset = -scale * dbias / count - slope * mean
            dx = _combined(dy, x, scale.to(x.dtype), slope.to(x.dtype), offset.to(x.dtype))
        else:
            dx = dy * scale.to(x.dtype).view(-1, 1, 1, 1)
        dweight = None if weight is None else dweight.to(x.dtype)
        return dx, None, None, dweight, dbias.to(x.dtype), None, None


def _summed(dy: Tensor, x: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The sums over all cells of dy * normalised x, and of dy: [C] each, in float64."""
    rows = _rows(x)
    columns = rows.shape[1] // x.shape[1]
    statistics = mean.repeat(columns), var.repeat(columns)
    _, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
        _rows(dy), rows, None, *statistics, None, None, False, eps, [False, True, True]
    )
    by_weight, by_bias = (_by_column(sums, x.shape[1]).sum(dim=0) for sums in (by_weight, by_bias))
    return by_weight, by_bias


def _combined(dy: Tensor, x: Tensor, scale: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """Computes scale * dy + slope * x + offset, the last three [C]."""
    y = torch.empty_like(x)
    wide = x.shape[-1]
    scale, slope, offset = (each.repeat(wide) for each in (scale, slope, offset))
    # In parts that stay in the cache between the two passes over them.
    lines = max(1, _CELLS // (wide * x.shape[1]))
    parts = (_rows(each).split(lines) for each in (dy, x, y))
    for d, row, out in zip(*parts, strict=True):
        torch.addcmul(offset, row, slope, out=out).addcmul_(d, scale)
    return y


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, [C], of what is [B, C, T, H, W], channels last."""
    found = torch.batch_norm_update_stats(_rows(x), None, None, 0.0)
    means, variances = (_by_column(each, x.shape[1]) for each in found)
    mean = means.mean(dim=0)
    var = (variances + (means - mean).square()).mean(dim=0)
    return mean.to(x.dtype), var.to(x.dtype)


def _rows(x: Tensor) -> Tensor:
    """[B, C, T, H, W], channels last, as [B * T * H, W * C]."""
    return x.movedim(1, -1).flatten(0, 2).flatten(1)


def _by_column(values: Tensor, channels: int) -> Tensor:
    """[W * C] as [W, C], in float64."""
    return values.view(-1, channels).double()


class _MeanOverReplicas(torch.autograd.Function):
    """Mean over all ranks; each rank's gradient is the mean of what all of them want."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return _mean_over_replicas(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _mean_over_replicas(gradient)


def _mean_over_replicas(x: Tensor) -> Tensor:
    total = x.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
