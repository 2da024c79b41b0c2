import hashlib
import subprocess

import pytest

from common.digests import DigestError, git_blob, sha256


def test_both_kinds(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    # What `git hash-object` prints for this content.
    git_blob("ce013625030ba8dba906f756967f9e9ca394464a").check(path, "")
    sha256(hashlib.sha256(b"hello\n").hexdigest()).check(path, "")


def test_as_git_has_it(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * 10_000)
    try:
        done = subprocess.run(["git", "hash-object", path], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    assert git_blob("").of(path) == done.stdout.decode().strip()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"abc", "Likely causes"),
        (b"", "Likely causes"),
        (b"\n<!DOCTYPE html><html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_a_mismatch_says_everything(tmp_path, content, cause):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(DigestError) as caught:
        sha256("00ff").check(path, "Do this.")
    text = str(caught.value)
    assert text.startswith(f"{path}: not the expected file. Expected sha256 00ff, got ")
    assert hashlib.sha256(content).hexdigest() in text
    assert f"({len(content)} bytes)" in text
    assert cause in text
    assert text.endswith("Do this.")
    assert path.read_bytes() == content
