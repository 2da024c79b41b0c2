"""Fixtures that hand a test one backend or both; one that is not installed is skipped."""

import importlib
from types import ModuleType

import pytest

from convert.conftest import thin as thin

NEEDS = {"tf": "sonnet", "torch": "torch"}


def _backend(name: str) -> ModuleType:
    pytest.importorskip(NEEDS[name], reason=f"needs the extra {name!r}")
    return importlib.import_module(f"parity_tests.on_{name}")


@pytest.fixture(params=list(NEEDS))
def backend(request: pytest.FixtureRequest) -> ModuleType:
    """`parity_tests.on_tf`, then `parity_tests.on_torch`."""
    return _backend(request.param)


@pytest.fixture
def on_tf() -> ModuleType:
    """`parity_tests.on_tf`."""
    return _backend("tf")


@pytest.fixture
def on_torch() -> ModuleType:
    """`parity_tests.on_torch`."""
    return _backend("torch")
