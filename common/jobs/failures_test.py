"""What cannot be made: the list of it, its reasons, and what ends a run."""

import os
import threading

import pytest

from common.jobs import failures, run_item, runs
from common.jobs.runs import Item, Settings
from common.testing.tasks import Folders, behave, contents, failed


def test_failures_are_listed_with_their_reasons(tmp_path):
    hows = ("good", "value", "os", "bug", "memory", "nothing", "exit", "kill")
    report = behave(tmp_path, *hows, workers=2, allow_failures=6)
    assert report.done == ("item 0",)
    assert report.failed == tuple(f"item {k}" for k in range(1, 8))
    assert report.status == 1
    lines = failed(tmp_path / "out")
    assert [line["item"] for line in lines] == list(report.failed)
    assert [line["error"] for line in lines] == [
        "ValueError", "FileNotFoundError", "KeyError", "MemoryError", "RuntimeError",
        "WorkerDied", "WorkerDied",
    ]  # fmt: skip
    reasons = [line["reason"] for line in lines]
    assert reasons[:2] == ["a value\nof two lines", "no such thing"]
    assert reasons[2].startswith("KeyError: 'x' (tasks.py:")
    assert reasons[3].startswith("MemoryError: no text (tasks.py:")
    assert reasons[4].startswith("RuntimeError: behave made no item 5.txt (run_item.py:")
    assert reasons[5] == "the worker process ended (exit status 3)"
    assert reasons[6] == "the worker process died (signal 9)"
    assert lines[0]["source"] == str(tmp_path / "1.how")
    assert lines[0]["command"] == "behave"
    text = report.text().splitlines()
    assert text[0] == "behave: 1 done, 0 skipped, 7 failed, 1 good"
    assert text[1] == r"  item 1: a value\nof two lines"
    assert text[-1] == f"  (all reasons: {tmp_path / 'out' / 'failed.jsonl'})"
    assert set(contents(tmp_path / "out")) == {"item 0.txt", ".item 0.txt.done", "failed.jsonl"}


def test_the_summary_shows_ten_failures(tmp_path):
    text = behave(tmp_path, *["value"] * 12).text().splitlines()
    assert len(text) == 13
    assert text[-2] == "  and 2 more"


def test_a_failure_that_is_put_right_leaves_the_list(tmp_path):
    report = behave(tmp_path, "value", "os", "good", allow_failures=2)
    assert report.status == 0
    assert [line["item"] for line in failed(tmp_path / "out")] == ["item 0", "item 1"]
    behave(tmp_path, "good")  # the other one is not among the items, and stays
    assert [line["item"] for line in failed(tmp_path / "out")] == ["item 1"]
    report = behave(tmp_path, "good", "good", "good")
    assert (report.skipped, report.done) == (("item 0", "item 2"), ("item 1",))
    assert "failed.jsonl" not in contents(tmp_path / "out")


def test_an_item_that_was_done_after_all_leaves_the_list(tmp_path):
    """As when a run was killed between an item's success and the list."""
    behave(tmp_path, "good", "value")
    path = tmp_path / "out/failed.jsonl"
    path.write_text(path.read_text().replace("item 1", "item 0"))
    assert behave(tmp_path, "good").skipped == ("item 0",)
    assert not path.exists()


def test_a_list_that_is_none_is_said_before_any_work(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/failed.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"failed\.jsonl, line 1: expected a JSON object"):
        behave(tmp_path, "good")
    assert set(contents(tmp_path / "out")) == {"failed.jsonl"}


def test_a_source_that_is_missing_is_a_failure(tmp_path):
    report = runs.run(Folders(), [Item("a", tmp_path / "a.mp4")], Settings(tmp_path / "out"))
    assert report.reasons == {"a": f"{tmp_path / 'a.mp4'}: there is no such file or folder."}
    assert failed(tmp_path / "out")[0]["error"] == "FileNotFoundError"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["full", "wrapped full"])
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_ends_the_run(tmp_path, how, workers):
    with pytest.raises(OSError, match=r"the disk of .*out is full; .* items are left to do"):
        behave(tmp_path, "good", how, *["hang" if workers else "good"] * 3, workers=workers)
    left = set(contents(tmp_path / "out"))
    assert left <= {"item 0.txt", ".item 0.txt.done"}
    assert "failed.jsonl" not in left


def test_something_not_installed_ends_the_run(tmp_path):
    with pytest.raises(ImportError, match=r"needs x\. Install it"):
        behave(tmp_path, "good", "import", "good", workers=1)
    assert set(contents(tmp_path / "out")) == {"item 0.txt", ".item 0.txt.done"}


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        behave(tmp_path, "good", "value", "interrupt", "good")
    names = {"item 0.txt", ".item 0.txt.done", "failed.jsonl"}
    assert set(contents(tmp_path / "out")) == names


def test_the_list_of_failures_is_shared(tmp_path):
    """Four writers at once, and no line is lost."""

    def write(number):
        for k in range(20):
            item = Item(f"{number}-{k:02d}", tmp_path)
            failed_item = run_item.failure(item, ValueError("x"))
            failures.update(tmp_path, "test", {item: failed_item})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [line["item"] for line in failed(tmp_path)]
    assert names == sorted(f"{number}-{k:02d}" for number in range(4) for k in range(20))
