"""What is made never takes the place of what others put there, and is never half there."""

import pytest

from common.jobs import locks
from common.jobs.runs import Item
from common.testing.tasks import Folders, contents, failed, run, run_one


def _assert_stays(item, out, tmp_path, reason, task=None):
    """The item fails for the reason and nothing changes; with `overwrite` it is made anew."""
    task = task or Folders()
    before = contents(out)
    report = run_one(task, item, out)
    assert (report.failed, report.status) == (("a",), 1)
    assert "exists and was not made by make_folders" in report.reasons["a"]
    assert f"({reason}); it stays as it is. --overwrite replaces it." in report.reasons["a"]
    assert failed(out)[0]["error"] == "FileExistsError"
    (out / "failed.jsonl").unlink()
    assert contents(out) == before
    assert run_one(task, item, out, overwrite=True).replaced == ("a",)
    run_one(task, item, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("added", "lost", "seed"),
    [
        ("u/frame000001.jpg", 0, 0),
        ("u/.done", 2, 0),
        ("empty/", 2, 1),
        ("notes.txt", 0, 1),
        ("image_00003.bin", 0, 0),
    ],
)
def test_what_others_put_into_a_folder_stays(videos, tmp_path, added, lost, seed):
    """Whether the folder is whole, or has lost more than was added, or has to be made anew."""
    out, item = tmp_path / "out", Item("a", videos / "a.mp4")
    run_one(Folders(), item, out)
    for k in range(lost):
        (out / f"a/image_{k:05d}.bin").unlink()
    path = out / "a" / added
    if added.endswith("/"):
        path.mkdir()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"command": "extract_flow"}')
    named = {"u/.done": "u/", "u/frame000001.jpg": "u/, u/frame000001.jpg"}.get(added, added)
    _assert_stays(item, out, tmp_path, f"holds more than it made: {named}", Folders(seed=seed))


@pytest.mark.parametrize(
    ("foreign", "reason"),
    [
        ("folder", "has no marker of it"),
        ("file", "has no marker of it"),
        ("changed", "has another size"),
        ("other command", "was made by other"),
    ],
)
def test_what_is_not_ours_stays(videos, tmp_path, foreign, reason):
    out, item = tmp_path / "out", Item("a", videos / "a.mp4")
    out.mkdir()
    if foreign == "file":
        (out / "a").write_text("precious")
    elif foreign == "folder":
        (out / "a").mkdir()
    else:
        run_one(Folders(command="make_folders" if foreign == "changed" else "other"), item, out)
        if foreign == "changed":
            (out / "a.sum").write_text("precious")
    _assert_stays(item, out, tmp_path, reason)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("whose", ["make_folders", "make_others"])
def test_nothing_is_put_into_what_is_done(videos, tmp_path, whose, overwrite):
    """Flow below a folder of frames would be lost with the frames, or keep them from being made."""
    out, item = tmp_path / "out", Item("a/u", videos / "a.mp4")
    run(Folders(command=whose), videos, out)
    before = contents(out)
    report = run_one(Folders(log=tmp_path / "log"), item, out, overwrite=overwrite)
    assert f"a/u would be inside {out / 'a'}, which {whose} has made" in report.reasons["a/u"]
    assert not (tmp_path / "log").exists()
    assert before.items() <= contents(out).items()
    assert run_one(Folders(), item, out / "a").failed == ("a/u",)


def test_what_was_done_before_the_lock_is_not_done_again(videos, tmp_path, monkeypatch):
    """Another run ends with an item just after this one has found it missing."""
    out, log, acquire = tmp_path / "out", tmp_path / "log", locks.acquire
    item, task = Item("a", videos / "a.mp4"), Folders(log=tmp_path / "log")

    def late(path, wait=False):
        monkeypatch.setattr(locks, "acquire", acquire)
        assert run_one(task, item, out).done == ("a",)
        return acquire(path, wait)

    monkeypatch.setattr(locks, "acquire", late)
    assert run_one(task, item, out).skipped == ("a",)
    assert len(log.read_text().splitlines()) == 1


def test_what_others_put_there_meanwhile_stays(videos, tmp_path, monkeypatch):
    out, make = tmp_path / "out", Folders.make

    def slow(self, item, temporary):
        (out / "a").mkdir()
        (out / "a/precious").write_text("mine")
        return make(self, item, temporary)

    monkeypatch.setattr(Folders, "make", slow)
    report = run_one(Folders(), Item("a", videos / "a.mp4"), out)
    assert "a exists and was not made by make_folders" in report.reasons["a"]
    assert (out / "a/precious").read_text() == "mine"
