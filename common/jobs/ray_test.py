"""The same items on a local Ray cluster, one of its workers killed."""

import builtins
import os

import pytest

from common.jobs import inputs, runs
from common.jobs.runs import Item, Settings
from common.testing.tasks import Behaves, Folders, contents


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    imported = builtins.__import__

    def missing(name, *arguments):
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ImportError, match=r"pip install 'i3d\[ray\]'"):
        runs.run(
            Folders(), [Item("a", tmp_path / "a.mp4")], Settings(tmp_path / "out", engine="ray")
        )
    assert contents(tmp_path / "out") == {}


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of two processors on this machine, which runs find and leave as it is."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    assert ray.is_initialized()
    ray.shutdown()


@pytest.mark.slow
def test_ray_makes_the_same(tmp_path, cluster):
    (tmp_path / "videos").mkdir()
    for k in range(12):
        (tmp_path / f"videos/clip {k}.mp4").write_text(f"video {k}")
    items = inputs.items(tmp_path / "videos")
    report = runs.run(Folders(), items, Settings(tmp_path / "out", 2, engine="ray"))
    assert (len(report.done), report.status) == (12, 0)
    runs.run(Folders(), items, Settings(tmp_path / "fresh", workers=0))
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    report = runs.run(Folders(), items, Settings(tmp_path / "out", 2, engine="ray"))
    assert len(report.skipped) == 12


@pytest.mark.slow
def test_an_item_whose_worker_was_killed_is_made_elsewhere(tmp_path, cluster):
    (tmp_path / "notes").mkdir()
    items = []
    for k, how in enumerate(["good", "kill once", "value", "good", "good", "kill", "good"]):
        (tmp_path / f"{k}.how").write_text(how)
        items.append(Item(f"{k}", tmp_path / f"{k}.how"))
    report = runs.run(
        Behaves(tmp_path / "notes"), items, Settings(tmp_path / "out", 2, engine="ray")
    )
    killed = int((tmp_path / "notes/1").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(killed, 0)
    assert killed != os.getpid()
    assert report.done == ("0", "1", "3", "4", "6")
    assert report.reasons["2"] == "a value\nof two lines"
    assert report.reasons["5"] == "the worker process died 4 times"
    good = [item for item in items if item.name not in report.failed]
    runs.run(Behaves(tmp_path / "notes"), good, Settings(tmp_path / "fresh", workers=0))
    ours = contents(tmp_path / "out")
    del ours["failed.jsonl"]
    assert ours == contents(tmp_path / "fresh")


@pytest.mark.slow
def test_a_run_that_is_left_takes_its_items_along(tmp_path, cluster):
    """The cluster goes on, what it was at for us does not."""
    items = []
    (tmp_path / "notes").mkdir()
    for k, how in enumerate(["hang", "import"]):
        (tmp_path / f"{k}.how").write_text(how)
        items.append(Item(f"{k}", tmp_path / f"{k}.how"))
    with pytest.raises(ImportError, match="needs x"):
        runs.run(Behaves(tmp_path / "notes"), items, Settings(tmp_path / "out", 2, engine="ray"))
    assert contents(tmp_path / "out") == {}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_ray_starts_its_own_cluster_and_a_full_disk_ends_the_run(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    items = []
    for k, how in enumerate(["good", "full", "good"]):
        (tmp_path / f"{k}.how").write_text(how)
        items.append(Item(f"{k}", tmp_path / f"{k}.how"))
    with pytest.raises(OSError, match="is full"):
        runs.run(Behaves(tmp_path), items, Settings(tmp_path / "out", 1, engine="ray"))
    assert not ray.is_initialized()
