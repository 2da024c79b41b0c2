"""Batch norm in training and inference; the twin of `i3d_tf/batch_norm.py`.

With channels_last on a CPU, PyTorch's batch norm reduces each channel sequentially in float32. In
InceptionI3D's first layer the variance is off by 2e-5 for two clips of 16 frames (200,000 values a
channel) and by 1e-3 for four clips of 64 frames, beyond the parity of 1e-5. `_sum` adds the
columns of each picture in float32 and all else in float64, which keeps seven digits.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import function

from common import arch
from common.training import recipes, running_statistics

_AXES = (0, 2, 3, 4)  # all but the channels of [B, C, T, H, W]
_CHANNELS = (-1, 1, 1, 1)


class BatchNorm(nn.Module):
    """Batch norm whose running variance averages the biased one, as TensorFlow does.

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
        if self.training and self.mode == "sync":
            return self._synchronised(x)
        if self.training and self.mode == "train":
            return self._by_batch(x)
        if self.training and _sums_poorly(x):
            return self._normalised(x, self.running_mean, self.running_var, of_batch=False)
        return self._by_torch(x, self.running_mean, self.running_var)

    def _by_batch(self, x: Tensor) -> Tensor:
        """Normalises with the statistics of the batch."""
        if _sums_poorly(x):
            mean, var = _statistics(x.detach())
            y = self._normalised(x, mean, var, of_batch=True)
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
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _MeanOverReplicas.apply(values.mean(_AXES))
        centred = values - mean.view(_CHANNELS)
        var = _MeanOverReplicas.apply(centred.square().mean(_AXES))
        self._average(mean, var)
        scale = torch.rsqrt(var + self.norm.eps)
        if self.weight is not None:
            scale = scale * self.weight
        return (centred * scale.view(_CHANNELS) + self.bias.view(_CHANNELS)).to(x.dtype)

    @torch.no_grad()
    def _average(self, mean: Tensor, var: Tensor) -> None:
        if running_statistics.are_kept():
            return
        self.running_mean.lerp_(mean, self.norm.momentum)
        self.running_var.lerp_(var, self.norm.momentum)

    def _by_torch(self, x: Tensor, mean: Tensor, var: Tensor, training: bool = False) -> Tensor:
        eps = self.norm.eps
        return F.batch_norm(x, mean, var, self.weight, self.bias, training, momentum=1.0, eps=eps)

    def _normalised(self, x: Tensor, mean: Tensor, var: Tensor, of_batch: bool) -> Tensor:
        return _Normalised.apply(x, mean, var, self.weight, self.bias, self.norm.eps, of_batch)


def set_mode(module: nn.Module, mode: str) -> None:
    """Sets what all batch norms in a model or layer do in training.

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


def _sums_poorly(x: Tensor) -> bool:
    """Whether PyTorch's batch norm would lose digits of x; see the module."""
    last = x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
    return last and x.is_cpu and x.dtype == torch.float32


class _Normalised(torch.autograd.Function):
    """Normalises [B, C, T, H, W] by a mean and a biased variance, [C] each.

    The gradient is that of batch norm: where the statistics are those of x (`of_batch`), it goes
    through them as well.
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
        of_batch: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, mean, var, weight)
        ctx.eps, ctx.of_batch = eps, of_batch
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    @function.once_differentiable
    def backward(ctx, dy: Tensor):
        x, mean, var, weight = ctx.saved_tensors
        invstd = torch.rsqrt(var.double() + ctx.eps)
        scale = invstd if weight is None else invstd * weight
        dbias = _sum(dy)
        dweight = invstd * _sum((x - mean.view(_CHANNELS)).mul_(dy))
        scaled = scale.to(x.dtype).view(_CHANNELS)
        if ctx.of_batch:
            # With n = (x - mean) * invstd, scale * (dy - mean(dy) - n * mean(dy * n)) is
            # scale * dy + slope * x + offset.
            count = x.numel() // x.shape[1]
            slope = -scale * invstd * dweight / count
            offset = -scale * dbias / count - slope * mean
            slope, offset = (each.to(x.dtype).view(_CHANNELS) for each in (slope, offset))
            dx = torch.addcmul(offset, x, slope).addcmul_(dy, scaled)
        else:
            dx = dy * scaled
        dweight = None if weight is None else dweight.to(x.dtype)
        return dx, None, None, dweight, dbias.to(x.dtype), None, None


def _sum(x: Tensor) -> Tensor:
    """The sum [C], float64, of [B, C, T, H, W]: over H in float32, over the rest in float64."""
    return x.movedim(1, -1).sum(2).flatten(0, 2).sum(0, dtype=torch.float64)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, [C], of [B, C, T, H, W]."""
    count = x.numel() // x.shape[1]
    mean = (_sum(x) / count).to(x.dtype)
    var = _sum((x - mean.view(_CHANNELS)).square_()) / count
    return mean, var.to(x.dtype)


class _MeanOverReplicas(torch.autograd.Function):
    """Mean over all ranks; the gradient of each is the mean of the gradients of all."""

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
