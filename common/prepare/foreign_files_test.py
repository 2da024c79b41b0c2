"""No command removes, or writes through, anything that it has not made: not in its own folders.

A command of another area joins with a line in `COMMANDS`.
"""

import os

import pytest

from common.jobs import run_item
from common.testing import commands, torture
from common.testing.tasks import contents

FLOW = ("--tvl1=warps=1", "--tvl1=scales=1")

# By name the module and its flags; {data} has videos, frames and lists, {out} is the output folder.
COMMANDS = {
    "extract_frames": ("common.prepare.extract_frames", "--input={data}/videos", "--output={out}"),
    "extract_flow": (
        "common.prepare.extract_flow", "--input={data}/videos", "--output={out}",
        "--short_side=16", *FLOW,
    ),
    "to_numpy": ("common.prepare.to_numpy", "--input={data}/videos", "--output={out}", *FLOW),
    "preview": ("common.prepare.preview", "--input={data}/videos", "--output={out}", *FLOW),
    "check": (
        "common.prepare.check", "--input={data}/videos", "--output={out}", "--min_frames=5",
    ),
    "count_frames": ("common.prepare.count_frames", "--input={out}"),
    "make_annotations": (
        "common.prepare.make_annotations", "--dataset=own", "--input={data}/lists",
        "--output={out}/own.json",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    torture.video(folder / "videos/a.mp4")
    torture.video(folder / "videos/b/c.mp4")
    (folder / "lists").mkdir()
    (folder / "lists/classInd.txt").write_text("1 run\n2 walk\n")
    (folder / "lists/trainlist01.txt").write_text("run/a.mp4 1\n")
    (folder / "lists/testlist01.txt").write_text("walk/c.mp4\n")
    return folder


def _run(name, data, out):
    module, *flags = COMMANDS[name]
    flags = [flag.format(data=data, out=out) for flag in flags]
    return commands.run(module, *flags, "--workers=0")


def _put_images(folder):
    """For `count_frames`, whose output is its input."""
    for number in (1, 2):
        (folder / "clip").mkdir(parents=True, exist_ok=True)
        (folder / f"clip/image_{number:05d}.jpg").touch()


@pytest.mark.parametrize("name", COMMANDS)
def test_files_of_others_stay(data, tmp_path, name):
    out, far = tmp_path / "out", tmp_path / "far"
    _put_images(out)
    mine = {
        # Folders that earlier versions emptied, and a link to one.
        ".work/my_notes/thesis.tex": "a year of work",
        ".claims/my_claims.txt": "of land",
        # Names like those of a run, but for a letter.
        ".i3d-notes.tmp/thesis.tex": "another",
        f".i3d-{'0' * 31}.tmp/file": "31 digits",
        f".i3d-{'a' * 32}.tmpx/file": "a letter more",
        f".i3d-{'A' * 32}.tmp/file": "capitals",
        ".hidden": "x",
    }
    for path, text in mine.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text)
    for name_of_ours, text in (("kept", "far away"), ("folder/kept", "farther")):
        (far / name_of_ours).parent.mkdir(parents=True, exist_ok=True)
        (far / name_of_ours).write_text(text)
    key = run_item.key("of a killed run", "a")
    (out / f".i3d-{key}.tmp").symlink_to(far)
    (out / f".i3d-{'b' * 32}.lock").symlink_to(far / "kept")
    (out / "link").symlink_to(far)
    far_before, before = contents(far), contents(out)
    done = _run(name, data, out)
    assert done.returncode == 0, done.stderr
    assert contents(far) == far_before
    assert before.items() <= contents(out).items()
    assert os.readlink(out / f".i3d-{key}.tmp") == str(far)


@pytest.mark.parametrize("name", ["extract_frames", "extract_flow", "to_numpy", "preview", "check"])
@pytest.mark.parametrize("ending", ["tmp", "lock"])
def test_a_link_in_place_of_a_temporary_name_is_not_followed(data, tmp_path, name, ending):
    out, far = tmp_path / "out", tmp_path / "far"
    for folder in (out, far):
        folder.mkdir()
    (far / "thesis").write_text("a year of work")
    link = out / f".i3d-{run_item.key(name, 'a')}.{ending}"
    link.symlink_to(far / "thesis" if ending == "lock" else far)
    done = _run(name, data, out)
    assert done.returncode == 1
    assert str(link) in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert contents(far) == {"thesis": b"a year of work"}
    assert link.is_symlink()


@pytest.mark.parametrize("name", ["extract_frames", "check"])
def test_what_killed_runs_left_is_removed(data, tmp_path, name):
    left = tmp_path / f".i3d-{run_item.key('extract_frames', 'long ago')}.tmp"
    (left / "0/name").mkdir(parents=True)
    (left / "0/name/image_00001.jpg").write_text("half")
    left.with_suffix(".lock").touch()
    assert _run(name, data, tmp_path).returncode == 0
    assert not [path for path in contents(tmp_path) if path.startswith(".i3d-")]


@pytest.mark.parametrize("report", ["report.json", "report.txt"])
@pytest.mark.parametrize("text", ["mine", "[]", "7"])
def test_a_report_of_somebody_else_stays(data, tmp_path, report, text):
    (tmp_path / report).write_text(text)
    done = _run("check", data, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{report} exists already and stays as it is; --overwrite replaces it" in done.stderr
    assert contents(tmp_path) == {report: text.encode()}
