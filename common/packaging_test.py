"""The wheel: what it carries, and that it works outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the tracked files, built in a copy, as a build leaves folders behind."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    tracked = _run("git", "ls-files", cwd=ROOT).splitlines()
    for name in tracked:
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(copy))
    (path,) = built.glob("i3d-*.whl")
    return path


@pytest.mark.slow
def test_it_has_no_tests_and_no_golden_files(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert [n for n in names if "test" in n or "golden" in n] == []
    assert {Path(n).suffix for n in names if ".dist-info" not in n} == {".py", ".txt"}
    assert {"common/data/label_map.txt", "i3d_torch/evaluate_sample.py"} <= {*names}


@pytest.mark.slow
def test_it_works_outside_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = (
        "import pathlib, common, convert.__main__\n"
        "from common.annotations import label_maps\n"
        "print(pathlib.Path(common.__file__).parts[-3], len(label_maps.load('label_map.txt')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    assert _run(sys.executable, "-c", program, cwd=tmp_path, env=environment) == "site 400\n"
    program = "from common import cli; cli.main(['--help'])"
    text = _run(sys.executable, "-c", program, cwd=tmp_path, env=environment)
    assert "evaluate-sample" in text
