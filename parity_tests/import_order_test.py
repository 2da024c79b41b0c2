"""triton is imported before TensorFlow, whatever is imported first.

Afterwards it is a segmentation fault (TensorFlow 2.21, triton 3.7). A module of triton's name that
refuses to come second stands in for it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common import cli

ROOT = Path(__file__).parents[1]
PACKAGES = ("common", "convert", "benchmarks")
STAND_IN = """
import sys
sys.exit("triton after TensorFlow") if "tensorflow" in sys.modules else print("triton is first")
"""
COMMANDS = sorted(f"i3d_tf.{row.twin}" for row in cli.COMMANDS.values() if row.twin)
ORDERS = ("i3d_torch, i3d_tf", ", ".join(COMMANDS))
SLOW = [pytest.param(each, marks=pytest.mark.slow) for each in ORDERS]


@pytest.mark.parametrize("modules", ["i3d_tf, i3d_torch", *SLOW])
def test_triton_is_imported_first(modules, tmp_path):
    pytest.importorskip("sonnet", reason="needs the extra 'tf'")
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    (tmp_path / "triton.py").write_text(STAND_IN)
    found = [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", f"import {modules}, tensorflow, triton"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(found)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "triton is first" in done.stdout


def test_tensorflow_is_imported_by_or_after_our_package():
    checked = 0
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = "" if path.name.endswith("_test.py") else path.read_text()
        if found := re.search(r"^ *(import|from) (tensorflow|sonnet)\b", text, re.MULTILINE):
            assert "import i3d_tf" in text[: found.start()], f"{path}: TensorFlow before i3d_tf"
            checked += 1
    assert checked
