"""Locks between processes: one holder, freed by any death, never through a link."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from common.jobs import locks

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from common.jobs import locks
held = locks.acquire(Path("a.lock"))
print(held is not None, flush=True)
sys.stdin.read()
"""


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "a.lock"
    held = locks.acquire(path)
    assert locks.acquire(path) is None
    with held, locks.acquire(tmp_path / "b.lock"):
        assert sorted(os.listdir(tmp_path)) == ["a.lock", "b.lock"]
    assert os.listdir(tmp_path) == []
    with locks.acquire(path):
        pass


def test_the_death_of_the_holder_releases_it(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == b"True\n"
    assert locks.acquire(tmp_path / "a.lock") is None
    process.kill()
    process.communicate()
    with locks.acquire(tmp_path / "a.lock"):  # the file is still there, unlocked
        pass
    assert os.listdir(tmp_path) == []


def test_no_two_threads_hold_one_lock(tmp_path):
    """Each acquires and releases as fast as it can, which removes the file every time."""
    inside, most = [], []

    def work():
        for _ in range(30):
            with locks.acquire(tmp_path / "a.lock", wait=True):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 120


def test_a_link_is_refused(tmp_path):
    (tmp_path / "thesis").write_text("mine")
    (tmp_path / "a.lock").symlink_to(tmp_path / "thesis")
    with pytest.raises(OSError, match="symbolic links"):
        locks.acquire(tmp_path / "a.lock")
    assert (tmp_path / "thesis").read_text() == "mine"


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def none(lock, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", none)
    with pytest.raises(OSError, match=r"this file system has no locks \(No locks available\)"):
        locks.acquire(tmp_path / "a.lock")
