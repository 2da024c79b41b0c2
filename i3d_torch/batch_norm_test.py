"""Batch norm of channels that lie last has the digits of those that lie in one piece."""

import pytest
import torch
import torch.nn.functional as F

from common import arch
from common.training import running_statistics
from i3d_torch import batch_norm

EPS = 1e-3
SHAPES = [(2, 16, 8, 40, 36), (1, 3, 1, 1, 5), (3, 7, 2, 1, 1), (2, 64, 1, 3, 2)]


def made(channels: int, scale: bool, mode: str) -> batch_norm.BatchNorm:
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


def found(layer: batch_norm.BatchNorm, x: torch.Tensor, slopes: torch.Tensor) -> list[torch.Tensor]:
    """What it computes, the gradients of x and of parameters, and the statistics after it."""
    x = x.clone().requires_grad_()
    y = layer(x)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], slopes)
    return [y.detach(), *gradients, layer.running_mean, layer.running_var]


def expected(
    layer: batch_norm.BatchNorm, x: torch.Tensor, slopes: torch.Tensor
) -> list[torch.Tensor]:
    """The same by its definition, in float64."""
    own = {name: value.double() for name, value in layer.state_dict().items()}
    parameters = [own[name].requires_grad_() for name, _ in layer.named_parameters()]
    x = x.double().requires_grad_()
    mean, var = own["running_mean"], own["running_var"]
    running = mean, var
    if layer.mode == "train":
        mean, var = x.mean((0, 2, 3, 4)), x.var((0, 2, 3, 4), unbiased=False)
        momentum = layer.norm.momentum
        running = [
            (1 - momentum) * old + momentum * new.detach()
            for old, new in zip(running, (mean, var), strict=True)
        ]
    each = (-1, 1, 1, 1)
    y = (x - mean.view(each)) / torch.sqrt(var.view(each) + EPS)
    if layer.weight is not None:
        y = y * own["weight"].view(each)
    y = y + own["bias"].view(each)
    gradients = torch.autograd.grad(y, [x, *parameters], slopes.double())
    return [y.detach(), *gradients, *running]


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("mode", ["train", "freeze"])
def test_it_computes_what_batch_norm_is_defined_as(shape, scale, mode):
    layer = made(shape[1], scale, mode)
    x, slopes = random(shape, 2) + 1, random(shape, 3)
    want = expected(layer, x, slopes)
    got = found(layer, x, slopes)
    assert len(got) == len(want)
    assert all(each <= 1e-6 for each in map(error, got, want))


def test_its_sums_over_a_million_values_keep_their_digits():
    shape = (4, 4, 16, 128, 128)
    layer = made(shape[1], True, "train")
    x = random(shape, 2) + 1
    slopes = random(shape, 3) + x  # so that no sum cancels
    want = expected(layer, x, slopes)
    statistics = torch.zeros(shape[1]), torch.ones(shape[1])
    plain = F.batch_norm(x, *statistics, layer.weight, layer.bias, training=True, eps=EPS)
    errors = list(map(error, found(layer, x, slopes), want))
    assert all(each <= 1e-6 for each in errors)
    # What torch does by itself is why the class exists.
    assert errors[0] < error(plain.detach(), want[0])


def test_its_output_does_not_depend_on_the_layout():
    shape = (2, 8, 4, 9, 10)
    x = random(shape, 2)
    last, first = (made(8, True, "train")(each) for each in (x, x.contiguous()))
    assert last.is_contiguous(memory_format=torch.channels_last_3d)
    assert error(last.detach(), first.detach()) <= 1e-6


def test_statistics_that_are_kept_stay():
    layer = made(8, True, "train")
    before = layer.running_mean.clone(), layer.running_var.clone()
    with running_statistics.kept():
        layer(random((2, 8, 4, 9, 10), 2))
    assert torch.equal(layer.running_mean, before[0])
    assert torch.equal(layer.running_var, before[1])
    layer(random((2, 8, 4, 9, 10), 2))
    assert not torch.equal(layer.running_mean, before[0])
