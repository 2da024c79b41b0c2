"""Damaged checkpoints of every variant: arrays or one error, and a fuzzer that would notice."""

import subprocess
import sys

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import FORMATS, _fuzzing, _mutate, safetensors
from convert.formats._fuzz_seeds import SEEDS

# What a damaged protocol-0 string makes Python's parser say.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

ROUNDS = 2000


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_checkpoints(name):
    assert [str(finding) for finding in _fuzzing.fuzz(name, ROUNDS)] == []


def test_every_format_has_seeds_and_tokens():
    assert {name for name, _ in SEEDS} == set(FORMATS) == set(_mutate.TOKENS)


@pytest.mark.parametrize(("name", "variant"), SEEDS)
def test_seeds_are_whole(name, variant, tmp_path):
    """Damage to a file that is refused anyway would show nothing."""
    path = SEEDS[name, variant](tmp_path)
    assert [m.NAME for m in FORMATS.values() if m.recognises(path)] == [name]
    arrays = FORMATS[name].read(path)
    assert arrays and all(isinstance(array, np.ndarray) for array in arrays.values())
    assert _fuzzing.verdict(FORMATS[name], path) is None


@pytest.mark.parametrize("name", FORMATS)
def test_much_damage_is_behind_the_checksums(name, monkeypatch):
    """Most inputs are refused, some are read, and for many reasons that are no checksum."""
    read, texts, arrays = FORMATS[name].read, set(), 0

    def watched(path):
        nonlocal arrays
        try:
            got = read(path)
        except CheckpointError as error:
            if "checksum" not in str(error):
                texts.add(str(error)[-30:])
            raise
        arrays += 1
        return got

    monkeypatch.setattr(FORMATS[name], "read", watched)
    assert list(_fuzzing.fuzz(name, 300)) == []
    assert arrays > 5 and len(texts) > 30


def fails(error):
    def read(path):
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (fails(KeyError("w")), "KeyError: 'w'"),
        (fails(CheckpointError("damaged")), "does not start with the path"),
        (lambda path: fails(CheckpointError(f"{path}: a\nb"))(path), "not printable"),
        (lambda path: fails(CheckpointError(f"{path}: " + "a" * 3000))(path), "of 30"),
        (lambda path: {"w": [1]}, "gives str and list"),
        (lambda path: {b"w": np.ones(1)}, "gives bytes and ndarray"),
        (lambda path: {}, "no array and no error"),
        (lambda path: {"w": np.zeros(2**28, np.uint8)}, "bytes of memory for a file of"),
    ],
)
def test_bad_readers_are_found(read, what, monkeypatch):
    monkeypatch.setattr(safetensors, "read", read)
    (finding,) = _fuzzing.fuzz("safetensors", 1)
    assert what in finding.what


def test_memory_that_an_error_hides_is_found(monkeypatch):
    def read(path):
        with safetensors.one_error(path):
            np.zeros(2**60, np.uint8)

    monkeypatch.setattr(safetensors, "read", read)
    (finding,) = _fuzzing.fuzz("safetensors", 1)
    assert finding.what.startswith("asks for too much memory")


def test_endless_work_is_found(monkeypatch):
    def read(path):
        while True:
            pass

    monkeypatch.setattr(safetensors, "read", read)
    monkeypatch.setattr(_fuzzing, "_MOST_SECONDS", 0.05)
    (finding,) = _fuzzing.fuzz("safetensors", 1)
    assert finding.what == "took more than 0.05 seconds"


def test_recognition_that_raises_is_found(monkeypatch):
    monkeypatch.setattr(safetensors, "recognises", fails(OSError("no")))
    (finding,) = _fuzzing.fuzz("mxnet_params", 1)  # the first is shown to all
    assert finding.what == "safetensors recognises: OSError: no"


def test_a_finding_can_be_seen_again(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors, "read", fails(KeyError("w")))
    findings = list(_fuzzing.fuzz("safetensors", 20, seed=3))
    assert [finding.round for finding in findings] == list(range(20))
    (again,) = _fuzzing.fuzz("safetensors", 1, seed=3, first=17)
    assert again == findings[17] and findings[17].files != findings[16].files
    again.save(tmp_path)
    saved = tmp_path / "safetensors-3-17"
    assert (saved / "input" / "m").read_bytes() == again.files["m"]
    assert "--format=safetensors --seed=3 --first=17" in (saved / "finding.txt").read_text()


def test_command():
    arguments = ["--format=mxnet_params", "--rounds=20", "--seed=5"]
    done = subprocess.run(
        [sys.executable, "-m", "convert.formats.fuzz", *arguments], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "mxnet_params: 20 inputs, 0 findings\n")
