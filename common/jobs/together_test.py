"""Several runs on one folder: items that others are making, finish, or give up."""

import threading
import time

import pytest

from common.jobs import run_item, runs
from common.jobs.progress import Progress
from common.jobs.runs import Item, Settings
from common.testing.tasks import Folders, behave, contents, failed, run


@pytest.fixture
def others(monkeypatch, tmp_path):
    """A function: another process makes an item until this run waits for it, then calls `end`."""

    def begin(command, name, end):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        key = run_item.key(command, name)
        (out / f".i3d-{key}.tmp").mkdir()
        held, end_of_it, waits = threading.Event(), threading.Event(), []

        def hold():
            with run_item.lock(out, key):
                held.set()
                end_of_it.wait(30)
                time.sleep(0.1)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(30)

        def wait(self, count):
            waits.append(count)
            if count:
                try:
                    end()
                finally:
                    end_of_it.set()

        monkeypatch.setattr(Progress, "wait", wait)
        return waits, thread

    return begin


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["done", "died"])
def test_an_item_that_others_make_is_waited_for(videos, tmp_path, others, how, workers):
    out, log = tmp_path / "out", tmp_path / "log"

    def end():
        assert len(list(out.rglob("*.sum"))) == 2  # the others are not kept waiting
        if how == "done":
            next(out.glob(".i3d-*.tmp")).rmdir()
            run_item._make(
                Item("a", videos / "a.mp4"), Folders(), out, False, _new(tmp_path / "theirs")
            )

    waits, thread = others("make_folders", "a", end)
    report = run(Folders(log=log), videos, out, workers=workers)
    thread.join()
    assert waits == [0, 1]
    assert (len(report.done), len(report.skipped)) == ((2, 1) if how == "done" else (3, 0))
    assert (report.status, report.counts) == (0, {"files": 9})
    assert len(log.read_text().splitlines()) == len(report.done)
    run(Folders(), videos, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def _new(folder):
    folder.mkdir()
    return folder


def test_ctrl_c_ends_the_wait(videos, tmp_path, others):
    def end():
        raise KeyboardInterrupt

    others("make_folders", "a", end)
    with pytest.raises(KeyboardInterrupt):
        run(Folders(), videos, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.sum"))) == 2


def test_what_others_make_stays_in_the_list_of_failures(tmp_path, others):
    behave(tmp_path, "value")

    def end():
        assert [line["item"] for line in failed(tmp_path / "out")] == ["item 0"]

    others("behave", "item 0", end)
    assert behave(tmp_path, "value").failed == ("item 0",)


def test_other_commands_and_other_items_are_no_matter(videos, tmp_path):
    out, key = tmp_path / "out", run_item.key("other", "a")
    out.mkdir()
    with run_item.lock(out, key):
        (out / f".i3d-{key}.tmp").mkdir()
        assert len(run(Folders(), videos, out).done) == 3
        assert (out / f".i3d-{key}.tmp").is_dir()  # its lock is held
    runs.run(Folders(), [], Settings(out))
    assert not any(name.startswith(".i3d") for name in contents(out))
