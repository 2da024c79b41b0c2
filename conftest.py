"""The fixture that finds real weights and videos for the tests of every package."""

from collections.abc import Callable
from pathlib import Path

import pytest

from common import assets


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A function from a relative path to a file in I3D_DATA; skips the test without it."""

    def find(relative: str) -> Path:
        for folder in assets.local_folders():
            if (folder / relative).exists():
                return folder / relative
        pytest.skip(f"I3D_DATA has no {relative}")

    return find
