"""Sources for the tests of runs."""

from pathlib import Path

import pytest

NAMES = ("b/x y%d[1]{name}(;&!)", "a", "c/été 日本")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of sources with odd names."""
    for k, name in enumerate(NAMES):
        path = tmp_path / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"video {k}")
    return tmp_path / "videos"
