"""What is made never takes the place of what others put there, and is never half there."""

import pytest

from common.jobs import locks, runs
from common.jobs.runs import Item, Settings
from common.testing.tasks import Folders, contents, failed, run


@pytest.mark.parametrize(
    "added", ["u/frame000001.jpg", "u/.done", "empty/", "notes.txt", "image_00003.bin"]
)
@pytest.mark.parametrize("lost", [0, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_others_put_into_a_folder_stays(videos, tmp_path, added, lost, seed):
    """Whether the folder is whole, or has lost more than was added, or has to be made anew."""
    out, item = tmp_path / "out", Item("a", videos / "a.mp4")
    runs.run(Folders(), [item], Settings(out, workers=0))
    for k in range(0 if added.endswith("bin") else lost):
        (out / f"a/image_{k:05d}.bin").unlink()
    path = out / "a" / added
    if added.endswith("/"):
        path.mkdir()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"command": "extract_flow"}')
    before = contents(out)
    report = runs.run(Folders(seed=seed), [item], Settings(out, workers=0))
    assert report.failed == ("a",)
    named = {"u/.done": "u/", "u/frame000001.jpg": "u/, u/frame000001.jpg"}.get(added, added)
    assert f"(holds more than it made: {named}); it stays as it is" in report.reasons["a"]
    (out / "failed.jsonl").unlink()
    assert contents(out) == before
    report = runs.run(Folders(seed=seed), [item], Settings(out, workers=0, overwrite=True))
    assert report.replaced == ("a",)
    runs.run(Folders(seed=seed), [item], Settings(tmp_path / "fresh", workers=0))
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("whose", ["make_folders", "make_others"])
def test_nothing_is_put_into_what_is_done(videos, tmp_path, whose, overwrite):
    """Flow below a folder of frames would be lost with the frames, or keep them from being made."""
    out, log, task = tmp_path / "out", tmp_path / "log", Folders(log=tmp_path / "log")
    run(Folders(command=whose), videos, out)
    before = contents(out)
    items = [Item("a/u", videos / "a.mp4"), Item("b/v", videos / "a.mp4")]
    report = runs.run(task, items, Settings(out, workers=0, overwrite=overwrite))
    assert (report.failed, report.done) == (("a/u",), ("b/v",))
    assert f"a/u would be inside {out / 'a'}, which {whose} has made" in report.reasons["a/u"]
    assert [line.split()[1] for line in log.read_text().splitlines()] == ["b/v"]
    assert before.items() <= contents(out).items()
    report = runs.run(Folders(), items, Settings(out / "a", workers=0))
    assert report.failed == ("a/u", "b/v")


@pytest.mark.parametrize("foreign", ["folder", "empty folder", "file", "changed", "other command"])
def test_what_is_not_ours_stays(videos, tmp_path, foreign):
    out = tmp_path / "out"
    target, item = out / "a", Item("a", videos / "a.mp4")
    out.mkdir()
    if foreign == "file":
        target.write_text("precious")
    elif foreign == "changed":
        runs.run(Folders(), [item], Settings(out, workers=0))
        (out / "a.sum").write_text("precious")
    elif foreign == "other command":
        runs.run(Folders(command="other"), [item], Settings(out, workers=0))
    else:
        target.mkdir()
        if foreign == "folder":
            (target / "precious").write_text("precious")
    before = contents(out)
    report = runs.run(Folders(), [item], Settings(out, workers=0))
    assert report.failed == ("a",)
    assert report.status == 1
    assert "exists and was not made by make_folders" in report.reasons["a"]
    assert "--overwrite replaces it" in report.reasons["a"]
    if foreign == "other command":
        assert "was made by other" in report.reasons["a"]
    assert failed(out)[0]["error"] == "FileExistsError"
    (out / "failed.jsonl").unlink()
    assert contents(out) == before
    report = runs.run(Folders(), [item], Settings(out, workers=0, overwrite=True))
    assert report.replaced == ("a",)
    runs.run(Folders(), [item], Settings(tmp_path / "fresh", workers=0))
    assert contents(out) == contents(tmp_path / "fresh")


def test_what_was_done_before_the_lock_is_not_done_again(videos, tmp_path, monkeypatch):
    """Another run ends with an item just after this one has found it missing."""
    out, log, acquire = tmp_path / "out", tmp_path / "log", locks.acquire
    item, task = Item("a", videos / "a.mp4"), Folders(log=tmp_path / "log")

    def late(path, wait=False):
        monkeypatch.setattr(locks, "acquire", acquire)
        assert runs.run(task, [item], Settings(out, workers=0)).done == ("a",)
        return acquire(path, wait)

    monkeypatch.setattr(locks, "acquire", late)
    assert runs.run(task, [item], Settings(out, workers=0)).skipped == ("a",)
    assert len(log.read_text().splitlines()) == 1


def test_what_others_put_there_meanwhile_stays(videos, tmp_path, monkeypatch):
    out, item, make = tmp_path / "out", Item("a", videos / "a.mp4"), Folders.make

    def slow(self, item, temporary):
        (out / "a").mkdir()
        (out / "a/precious").write_text("mine")
        return make(self, item, temporary)

    monkeypatch.setattr(Folders, "make", slow)
    report = runs.run(Folders(), [item], Settings(out, workers=0))
    assert "a exists and was not made by make_folders" in report.reasons["a"]
    assert (out / "a/precious").read_text() == "mine"
