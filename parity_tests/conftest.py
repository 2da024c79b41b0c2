"""Fixtures that hand a test one backend or both; one that is not installed is skipped."""

import importlib
from types import ModuleType

import pytest

from convert.conftest import thin as thin

NEEDS = {"tf": "sonnet", "torch": "torch"}


def _module(name: str, module: str) -> ModuleType:
    pytest.importorskip(NEEDS[name], reason=f"needs the extra {name!r}")
    return importlib.import_module(module.format(name))


@pytest.fixture(params=list(NEEDS))
def package(request: pytest.FixtureRequest) -> ModuleType:
    """`i3d_tf`, then `i3d_torch`."""
    return _module(request.param, "i3d_{}")


@pytest.fixture(params=list(NEEDS))
def backend(request: pytest.FixtureRequest) -> ModuleType:
    """`parity_tests.on_tf`, then `parity_tests.on_torch`."""
    return _module(request.param, "parity_tests.on_{}")


@pytest.fixture
def on_tf() -> ModuleType:
    """`parity_tests.on_tf`."""
    return _module("tf", "parity_tests.on_{}")


@pytest.fixture
def on_torch() -> ModuleType:
    """`parity_tests.on_torch`."""
    return _module("torch", "parity_tests.on_{}")
