"""Batch norm in training and inference; the twin of `i3d_tf/batch_norm.py`.

With channels_last on a CPU, PyTorch's batch norm reduces each channel sequentially in float32. In
InceptionI3D's first layer the variance is off by 2e-5 for two clips of 16 frames and by 1e-3 for
four of 64, beyond the parity of 1e-5. `_sum` keeps seven digits.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import function

from common import arch
from common.training import optim

_AXES = (0, 2, 3, 4)  # all but the channels of [B, C, T, H, W]
_CHANNELS = (-1, 1, 1, 1)


class BatchNorm(nn.Module):
    """Batch norm whose running variance averages the biased one, as TensorFlow does.

    In training `mode` "train" normalises with the statistics of the batch and averages them;
    "freeze" with the running ones, which stay, while scale and offset still train; "sync" is
    "train" over the batches of all ranks.
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
        by_batch = self.training and self.mode == "train"
        mean, var = self.running_mean, self.running_var
        rest = self.weight, self.bias
        last = x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
        if self.training and last and x.is_cpu and x.dtype == torch.float32:  # see the module
            if by_batch:
                values, count = x.detach(), x.numel() // x.shape[1]
                mean = (_sum(values) / count).to(x.dtype)
                var = (_sum((values - mean.view(_CHANNELS)).square_()) / count).to(x.dtype)
                self._average(mean, var)
            return _Normalised.apply(x, mean, var, *rest, self.norm.eps, by_batch)
        if not by_batch:
            return F.batch_norm(x, mean, var, *rest, eps=self.norm.eps)
        # With momentum 1 the op hands out the batch's own statistics.
        mean, var = torch.zeros_like(mean), torch.ones_like(var)
        y = F.batch_norm(x, mean, var, *rest, training=True, momentum=1.0, eps=self.norm.eps)
        # The op reports the unbiased variance, n / (n - 1) of the biased one.
        count = x.numel() // x.shape[1]
        self._average(mean, var * ((count - 1) / count))
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
        if not optim.is_recomputing():
            self.running_mean.lerp_(mean, self.norm.momentum)
            self.running_var.lerp_(var, self.norm.momentum)


def set_mode(module: nn.Module, mode: str) -> None:
    """Sets what all batch norms in a model or layer do in training; see `BatchNorm.mode`."""
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.mode = mode


class _Normalised(torch.autograd.Function):
    """Normalises by mean and biased variance, through which the gradient goes if `of_batch`."""

    @staticmethod
    def forward(ctx, x, mean, var, weight, bias, eps: float, of_batch: bool) -> Tensor:
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


class _MeanOverReplicas(torch.autograd.Function):
    """Mean over all ranks; the gradient of each is the mean of the gradients of all."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _MeanOverReplicas.apply(gradient)
