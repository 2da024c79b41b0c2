"""No command removes, or writes through, anything that it has not made: not in its own folders.

A command of another area joins with a line in `COMMANDS`.
"""

import os

import pytest

from common.jobs import runs
from common.testing import commands, torture
from common.testing.tasks import contents

VIDEOS = ("--input={data}/videos", "--output={out}")
FLOW = ("--tvl1=warps=1", "--tvl1=scales=1")
ITEMS = {
    "extract_frames": VIDEOS,
    "extract_flow": (*VIDEOS, "--short_side=16", *FLOW),
    "to_numpy": (*VIDEOS, *FLOW),
    "preview": (*VIDEOS, *FLOW),
    "check": (*VIDEOS, "--min_frames=5"),
}
# By name the flags; {data} has videos and lists, {out} is the output folder.
COMMANDS = {
    **ITEMS,
    "count_frames": ("--input={out}",),
    "make_annotations": ("--dataset=own", "--input={data}/lists", "--output={out}/own.json"),
}


def _put(folder, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    torture.video(folder / "videos/a.mp4")
    torture.video(folder / "videos/b/c.mp4")
    lists = {"train": "run/a.mp4 1\n", "test": "walk/c.mp4\n"}
    _put(folder, {f"lists/{name}list01.txt": text for name, text in lists.items()})
    _put(folder, {"lists/classInd.txt": "1 run\n2 walk\n"})
    return folder


def _run(name, data, out):
    flags = [flag.format(data=data, out=out) for flag in COMMANDS[name]]
    return commands.run(f"common.prepare.{name}", *flags, *["--workers=0"] * (name in ITEMS))


@pytest.mark.parametrize("name", COMMANDS)
def test_files_of_others_stay(data, tmp_path, name):
    out, far = tmp_path / "out", tmp_path / "far"
    mine = {
        # Folders that earlier versions emptied.
        ".work/my_notes/thesis.tex": "a year of work",
        ".claims/my_claims.txt": "of land",
        # Names like those of a run, but for a letter.
        ".i3d-notes.tmp/thesis.tex": "another",
        f".i3d-{'0' * 31}.tmp/file": "31 digits",
        f".i3d-{'a' * 32}.tmpx/file": "a letter more",
        f".i3d-{'A' * 32}.tmp/file": "capitals",
        ".hidden": "x",
        "clip/image_00001.jpg": "for count_frames, whose output is its input",
    }
    _put(out, mine)
    _put(far, {"kept": "far away", "folder/kept": "farther"})
    key = runs.key("of a killed run", "a")
    (out / f".i3d-{key}.tmp").symlink_to(far)
    (out / f".i3d-{'b' * 32}.lock").symlink_to(far / "kept")
    (out / "link").symlink_to(far)
    far_before, before = contents(far), contents(out)
    done = _run(name, data, out)
    assert done.returncode == 0, done.stderr
    assert contents(far) == far_before
    assert before.items() <= contents(out).items()
    assert os.readlink(out / f".i3d-{key}.tmp") == str(far)


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize("ending", ["tmp", "lock"])
def test_a_link_in_place_of_a_temporary_name_is_not_followed(data, tmp_path, name, ending):
    out, far = tmp_path / "out", tmp_path / "far"
    out.mkdir()
    _put(far, {"thesis": "a year of work"})
    link = out / f".i3d-{runs.key(name, 'a')}.{ending}"
    link.symlink_to(far / "thesis" if ending == "lock" else far)
    done = _run(name, data, out)
    assert done.returncode == 1
    assert str(link) in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert contents(far) == {"thesis": b"a year of work"}
    assert link.is_symlink()


@pytest.mark.parametrize("report", ["report.json", "report.txt"])
@pytest.mark.parametrize("text", ["mine", "[]", "7"])
def test_a_report_of_somebody_else_stays(data, tmp_path, report, text):
    (tmp_path / report).write_text(text)
    (tmp_path / "findings").mkdir()
    done = _run("check", data, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{report} exists already and stays as it is; --overwrite replaces it" in done.stderr
    assert contents(tmp_path) == {report: text.encode(), "findings": None}
