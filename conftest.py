"""Fixtures for the tests of every package: real weights and videos, and judges of formats."""

import contextlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from convert import published

# Before any test imports TensorFlow, as `i3d_tf` does: afterwards it is a segmentation fault.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A function from a relative path to a file in I3D_DATA; skips the test without it."""

    def find(relative: str) -> Path:
        for folder in published.local_folders():
            if (folder / relative).exists():
                return folder / relative
        pytest.skip(f"I3D_DATA has no {relative}")

    return find


@pytest.fixture(scope="session")
def judge() -> Callable[[str], ModuleType]:
    """A function that imports the software whose format a test is about.

    Where it is not installed the test is skipped, or fails with I3D_JUDGES=1: an environment
    made for judging may not leave it out.
    """

    def find(module: str) -> ModuleType:
        if os.environ.get("I3D_JUDGES") != "1":
            pytest.importorskip(module, reason=f"needs {module}; `make test-judges` has it")
        return importlib.import_module(module)

    return find


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that ask a judge, before `-m` chooses among them."""
    for item in items:
        if "judge" in getattr(item, "fixturenames", ()):
            item.add_marker("judged")
