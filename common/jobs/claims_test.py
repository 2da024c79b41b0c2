"""Claims between processes: one holder, freed by any death, no claim on a file that is gone."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.jobs import claims

ROOT = Path(__file__).parents[2]
HOLD = "import sys; from pathlib import Path; from common.jobs import claims\n"
HOLD += "held = claims.claim(Path(sys.argv[1]), 'a'); print(held is not None, flush=True)\n"
HOLD += "sys.stdin.read()"


def test_one_holder_at_a_time(tmp_path):
    folder = tmp_path / "claims"
    held = claims.claim(folder, "a")
    assert held is not None
    assert claims.claim(folder, "a") is None
    with held, claims.claim(folder, "b"):
        assert sorted(os.listdir(folder)) == ["a", "b"]
    assert os.listdir(folder) == []
    with claims.claim(folder, "a"):
        pass


def test_the_death_of_the_holder_frees_it(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "claims"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout.readline() == b"True\n"
    assert claims.claim(tmp_path / "claims", "a") is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with claims.claim(tmp_path / "claims", "a"):  # the dead one's file is still there, unlocked
        pass
    assert os.listdir(tmp_path / "claims") == []


def test_a_lock_on_a_file_that_is_gone_is_no_claim(tmp_path, monkeypatch):
    """Between opening and locking the file, its owner gives it back and another one claims."""
    lock, seen = fcntl.flock, []

    def late(descriptor, how):
        if not seen:
            seen.append(descriptor)
            (tmp_path / "a").unlink()
            seen.append(claims.claim(tmp_path, "a"))
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert claims.claim(tmp_path, "a") is None
    assert seen[1] is not None
    with seen[1]:
        pass


def test_the_folder_may_go_in_between(tmp_path, monkeypatch):
    opened, seen = os.open, []

    def late(path, flags, *mode, **names):
        if not seen and flags & os.O_CREAT:
            seen.append(path)
            (tmp_path / "claims").rmdir()
        return opened(path, flags, *mode, **names)

    monkeypatch.setattr(os, "open", late)
    with claims.claim(tmp_path / "claims", "a") as held:
        assert held is not None
    assert len(seen) == 1


def test_waiting_ends_when_it_is_given_back(tmp_path):
    held, got = claims.claim(tmp_path, "a"), threading.Event()

    def wait():
        with claims.wait_for(tmp_path, "a"):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(0.05)
    with held:
        pass
    thread.join()
    assert got.is_set()
    assert os.listdir(tmp_path) == []


def test_no_two_threads_hold_one_claim(tmp_path):
    """Claims and gives back as fast as it goes, the folder removed now and then."""
    inside, most, counts = [], [], []

    def work():
        count = 0
        while count < 200:
            with claims.wait_for(tmp_path / "claims", "a"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()
                count += 1
            with contextlib.suppress(OSError):
                (tmp_path / "claims").rmdir()
        counts.append(count)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [200] * 4
    assert max(most) == 1


def test_a_key_is_shared_by_those_who_agree(tmp_path):
    folder = tmp_path / "claims"
    with claims.shared(folder, "a", "5 warps"):
        with claims.shared(folder, "a", "5 warps"):
            assert claims.claim(folder, "a") is None
        with pytest.raises(claims.TakenError) as error, claims.shared(folder, "a", "2 warps"):
            pass
        assert error.value.text == "5 warps"
        assert claims.claim(folder, "a") is None
        with claims.shared(folder, "b", "2 warps"):
            pass
    with claims.shared(folder, "a", "2"):  # shorter than what the last one left
        assert (folder / "a").read_text() == "2\n"
    for key in ("a", "b"):
        with claims.claim(folder, key):
            pass
    assert os.listdir(folder) == []


def test_the_death_of_those_who_share_frees_it(tmp_path):
    program = HOLD.replace("claim(Path(sys.argv[1]), 'a')", "shared(Path(sys.argv[1]), 'a', 'x')")
    program = program.replace("; print(", "; held.__enter__(); print(")
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout.readline() == b"True\n"
    with pytest.raises(claims.TakenError), claims.shared(tmp_path, "a", "y"):
        pass
    process.kill()
    process.communicate()
    with claims.shared(tmp_path, "a", "y"):
        assert (tmp_path / "a").read_text() == "y\n"


@pytest.mark.parametrize("event", ["taken", "removed", "left unwritten"])
def test_others_between_two_locks(tmp_path, monkeypatch, event):
    """A lock that becomes another is free for a moment, in which others may lock and leave."""
    lock, seen, inside = fcntl.flock, [], contextlib.ExitStack()

    def late(descriptor, how):
        if how == fcntl.LOCK_SH and not seen:
            seen.append(1)
            lock(descriptor, fcntl.LOCK_UN)
            if event == "taken":
                inside.enter_context(claims.shared(tmp_path, "a", "theirs"))
            elif event == "removed":
                with claims.claim(tmp_path, "a"):
                    pass
            else:
                (tmp_path / "a").write_text("")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with inside:
        if event == "taken":
            with pytest.raises(claims.TakenError), claims.shared(tmp_path, "a", "ours"):
                pass
        else:
            with claims.shared(tmp_path, "a", "ours"):
                assert (tmp_path / "a").read_text() == "ours\n"
                assert claims.claim(tmp_path, "a") is None
    assert seen == [1]


def test_no_two_threads_share_what_they_do_not_agree_on(tmp_path):
    """Shares and gives back as fast as it goes, the file removed now and then."""
    inside, mixed, counts = [], [], []

    def work(text):
        count = 0
        while count < 100:
            with contextlib.suppress(claims.TakenError), claims.shared(tmp_path / "c", "a", text):
                inside.append(text)
                mixed.append(len(set(inside)))
                inside.remove(text)
                count += 1
            if held := claims.claim(tmp_path / "c", "a"):
                with held:
                    pass
        counts.append(count)

    threads = [threading.Thread(target=work, args=(text,)) for text in ("x", "x", "y", "y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [100] * 4
    assert max(mixed) == 1


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def none(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(OSError, match=r"this file system has no locks \(No locks available\)"):
        claims.claim(tmp_path, "a")
