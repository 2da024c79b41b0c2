"""Fixtures and helpers of the converter's tests."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from common import arch
from convert import detect, hub
from convert.arrays import Array
from parity_tests import randomise


def make_weights(
    architecture: str, num_classes: int = 7, in_channels: int = 3, seed: int = 0
) -> hub.Weights:
    net = arch.make(architecture, num_classes, in_channels)
    return hub.Weights(net, randomise.arrays(net, seed))


def assert_equal(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Asserts that arrays are equal to the bit and in the same order."""
    assert list(actual) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name, strict=True)


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every architecture with a sixteenth of its channels, under its own name."""

    def narrowed(make: Callable[..., arch.Network]) -> Callable[..., arch.Network]:
        return lambda *args, **kwargs: arch.narrow(make(*args, **kwargs), 16)

    for name, make in list(arch.ARCHITECTURES.items()):
        monkeypatch.setitem(arch.ARCHITECTURES, name, narrowed(make))
    detect._default.cache_clear()
    yield
    monkeypatch.undo()
    detect._default.cache_clear()
