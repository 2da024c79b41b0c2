"""Several runs on one folder: what others are at, do, give up, or would do differently."""

import types

import pytest

from common.jobs import making, runs
from common.jobs.runs import Item, Settings
from common.testing.tasks import Folders, behave, contents, failed, run


class Others:
    """Another process that is at an item for a while: until this one has waited three times."""

    def __init__(self, monkeypatch, out, command, name, end):
        self.out, self.pauses, self._end = out, 0, end
        self._claim = making.claims.claim(out / making.CLAIMS, making.key(command, name))
        self.theirs = out / ".work" / f"{making.key(command, name)}-00"
        self.theirs.mkdir(parents=True)
        monkeypatch.setattr(runs, "time", types.SimpleNamespace(sleep=self._sleep))

    def _sleep(self, seconds):
        assert 0 < seconds <= 1
        self.pauses += 1
        if self.pauses == 3:
            assert self.theirs.exists()
            self._claim.__exit__(None, None, None)
            self._end()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["done", "died"])
def test_what_others_are_at_is_waited_for(videos, tmp_path, monkeypatch, how, workers):
    out, log = tmp_path / "out", tmp_path / "log"

    def end():
        assert len(list(out.rglob("*.sum"))) == 2  # the others are not kept waiting
        if how == "done":
            runs.run(Folders(), [Item("a", videos / "a.mp4")], Settings(out, workers=0))

    others = Others(monkeypatch, out, "make_folders", "a", end)
    report = run(Folders(log=log), videos, out, workers=workers)
    assert others.pauses == 3
    assert (len(report.done), len(report.skipped)) == ((2, 1) if how == "done" else (3, 0))
    assert (report.status, report.counts) == (0, {"files": 9})
    assert len(log.read_text().splitlines()) == len(report.done)
    run(Folders(), videos, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_ctrl_c_ends_the_wait(videos, tmp_path, monkeypatch):
    def end():
        raise KeyboardInterrupt

    others = Others(monkeypatch, tmp_path / "out", "make_folders", "a", end)
    with pytest.raises(KeyboardInterrupt):
        run(Folders(), videos, tmp_path / "out")
    assert others.pauses == 3
    assert len(list((tmp_path / "out").rglob("*.sum"))) == 2


def test_what_others_give_up_is_done_at_the_end(videos, tmp_path, monkeypatch):
    """They claimed an item before this run came to it, and died while it was at the next."""
    out, made = tmp_path / "out", Folders.make
    theirs = making.claims.claim(out / making.CLAIMS, making.key("make_folders", "a"))

    def make(self, item, temporary):
        if item.name != "a":
            theirs.__exit__(None, None, None)
            monkeypatch.setattr(Folders, "make", made)
        return made(self, item, temporary)

    monkeypatch.setattr(Folders, "make", make)
    report = run(Folders(), videos, out)
    assert len(report.done) == 3


def test_what_others_are_at_stays_in_the_list_of_failures(tmp_path, monkeypatch):
    behave(tmp_path, "value")
    out = tmp_path / "out"

    def end():
        assert [line["item"] for line in failed(out)] == ["item 0"]

    others = Others(monkeypatch, out, "behave", "item 0", end)
    assert behave(tmp_path, "value").failed == ("item 0",)
    assert others.pauses == 3


def test_another_run_with_other_parameters_is_refused(videos, tmp_path, monkeypatch):
    """It would make anew what this one has made, and this one that of it."""
    out, made, said = tmp_path / "out", Folders.make, []

    def make(self, item, temporary):
        if not said:  # another run, while this one is at an item
            said.append(1)
            with pytest.raises(ValueError, match="at work on it, with other parameters") as error:
                run(Folders(seed=1, files=2, log=tmp_path / "log"), videos, out)
            said.append(str(error.value))
            others = [Item("of another command", videos / "a.mp4")]
            runs.run(Folders(seed=1, command="other"), others, Settings(out, workers=0))
        return made(self, item, temporary)

    monkeypatch.setattr(Folders, "make", make)
    assert len(run(Folders(), videos, out).done) == 3
    assert f"{out}: another make_folders is at work on it" in said[1]
    assert "this one has files 2 and not 3; seed 1 and not 0. Wait for its end" in said[1]
    assert not (tmp_path / "log").exists()
    assert not {".work", ".claims", "failed.jsonl"} & set(contents(out))
    assert len(run(Folders(seed=1, files=2), videos, out).replaced) == 3
