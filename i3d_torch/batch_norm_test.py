"""Batch norm of channels that lie last has the digits of those that lie in one piece."""

import pytest
import torch
import torch.nn.functional as F

from common import arch
from i3d_torch import batch_norm

EPS = 1e-3
AXES, CHANNELS = (0, 2, 3, 4), (-1, 1, 1, 1)
SHAPES = [(2, 16, 8, 20, 18), (1, 3, 1, 1, 5), (3, 7, 2, 1, 1)]


def made(channels: int, scale: bool = True, mode: str = "train") -> batch_norm.BatchNorm:
    """A batch norm in training whose statistics and parameters are no round numbers."""
    layer = batch_norm.BatchNorm(arch.Norm(eps=EPS, momentum=0.25, scale=scale), channels)
    layer.mode = mode
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for values in (*layer.parameters(), layer.running_mean, layer.running_var):
            values.uniform_(0.5, 1.5, generator=generator)
    return layer


def random(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.contiguous(memory_format=torch.channels_last_3d)


def errors(layer: batch_norm.BatchNorm, x: torch.Tensor, slopes: torch.Tensor) -> list[float]:
    """Errors of the output, the gradients and the statistics, against the formula in float64."""
    own = {name: value.double().clone() for name, value in layer.state_dict().items()}
    parameters = [own[name].requires_grad_() for name, _ in layer.named_parameters()]
    exact = x.double().requires_grad_()
    mean, var = running = own["running_mean"], own["running_var"]
    if layer.mode == "train":
        mean, var = exact.mean(AXES), exact.var(AXES, unbiased=False)
        running = [
            old.lerp(new.detach(), 0.25) for old, new in zip(running, (mean, var), strict=True)
        ]
    y = (exact - mean.view(CHANNELS)) / torch.sqrt(var.view(CHANNELS) + EPS)
    y = y * own.get("weight", torch.ones(1)).view(CHANNELS) + own["bias"].view(CHANNELS)
    expected = [y, *torch.autograd.grad(y, [exact, *parameters], slopes.double()), *running]

    x = x.clone().requires_grad_()
    y = layer(x)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], slopes)
    found = [y, *gradients, layer.running_mean, layer.running_var]
    return [error(*pair) for pair in zip(found, expected, strict=True)]


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got - want).detach().abs().max() / want.detach().abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("mode", ["train", "freeze"])
def test_it_computes_what_batch_norm_is_defined_as(shape, scale, mode):
    layer = made(shape[1], scale, mode)
    assert max(errors(layer, random(shape, 2) + 1, random(shape, 3))) <= 1e-6


def test_its_sums_over_a_million_values_keep_their_digits():
    """What torch does by itself, which is why the class exists, is off by more."""
    shape = (2, 4, 16, 128, 128)
    x = random(shape, 2) + 1
    slopes = random(shape, 3) + x  # so that no sum cancels
    found = errors(made(4), x, slopes)
    assert max(found) <= 1e-6
    exact, plain = (
        F.batch_norm(each, None, None, training=True, eps=EPS) for each in (x.double(), x)
    )
    assert found[0] < error(plain, exact)
