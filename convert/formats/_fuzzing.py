"""Damaged checkpoints for a reader, and the verdict on how it takes each.

A reader gives arrays, or one CheckpointError that says why not. All else is a finding.
"""

import contextlib
import dataclasses
import random
import shutil
import signal
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

import numpy as np

from common.io import CheckpointError
from convert.formats import FORMATS, _mutate
from convert.formats._fuzz_seeds import SEEDS

_LONGEST_TEXT = 2000  # characters of an error besides the path
_MOST_SECONDS = 10.0  # of computing; an input takes milliseconds
# Readers let small files have 64 MiB (shared data, widened types); the rest goes with the size.
_MOST_MEMORY = 80 * 2**20
_MEMORY_PER_BYTE = 100  # a byte of a pickle can be an object
_THOROUGH = 16  # every so manieth input is also measured, and shown to all formats


@dataclasses.dataclass(frozen=True)
class Finding:
    """An input that a reader did not take as it should.

    Attributes:
        format: The reader.
        variant: The undamaged file, a key of SEEDS.
        seed: Of the run.
        round: Number of the input in the run.
        what: What happened.
        files: The damaged checkpoint by path in its folder.
    """

    format: str
    variant: str
    seed: int
    round: int
    what: str
    files: dict[str, bytes]

    def save(self, folder: Path) -> None:
        """Writes the files, and beside them what happened."""
        place = folder / f"{self.format}-{self.seed}-{self.round}"
        _write(self.files, place / "input")
        (place / "finding.txt").write_text(f"{self}\n", encoding="utf-8")

    def __str__(self) -> str:
        return (
            f"{self.what}\n  to see it again: --format={self.format} --seed={self.seed}"
            f" --first={self.round} --rounds=1 (from {self.variant!r})"
        )


class _TooLong(BaseException):
    """No Exception, so that no reader takes it for damage."""


def fuzz(name: str, rounds: int, seed: int = 0, first: int = 0) -> Iterator[Finding]:
    """Yields the findings of `rounds` damaged inputs of the format `name`.

    The same seed and round always give the same input.
    """
    with tempfile.TemporaryDirectory() as temporary:
        seeds = _seeds(name, Path(temporary))
        for number in range(first, first + rounds):
            chance = random.Random(f"{name} {seed} {number}")
            variant = chance.choice(list(seeds))
            damaged = _damaged(name, variant, seeds, chance)
            folder = Path(temporary, "input")
            _write(damaged, folder)
            path = folder / seeds[variant][0]
            what = verdict(FORMATS[name], path, thorough=number % _THOROUGH == 0)
            shutil.rmtree(folder)
            if what is not None:
                yield Finding(name, variant, seed, number, what, damaged)


def verdict(module: ModuleType, path: Path, *, thorough: bool = True) -> str | None:
    """What is wrong with how a reader takes the file at `path`; None where nothing is.

    Args:
        module: The format that reads it.
        path: The file, prefix or folder.
        thorough: Whether memory is measured, and all formats are asked whether it is theirs.
    """
    try:
        for asked in FORMATS.values() if thorough else (module,):
            asked.recognises(path)
    except Exception as error:
        return f"{asked.NAME} recognises: {type(error).__name__}: {error}"
    if not thorough:
        return _outcome(module, path)
    size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    tracemalloc.start()
    try:
        what = _outcome(module, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if what is None and peak > _MOST_MEMORY + _MEMORY_PER_BYTE * size:
        return f"took {peak} bytes of memory for a file of {size}"
    return what


def _outcome(module: ModuleType, path: Path) -> str | None:
    try:
        with _limited_time():
            arrays = module.read(path)
            for name, array in arrays.items():
                if type(name) is not str or not isinstance(array, np.ndarray):
                    return f"gives {type(name).__name__} and {type(array).__name__}"
                if array.nbytes < 2**20:
                    array.copy()  # touches every value
    except CheckpointError as error:
        return text_problem(str(error), path) or _memory_problem(error)
    except _TooLong:
        return f"took more than {_MOST_SECONDS} seconds"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if arrays else "gives no array and no error"


def text_problem(text: str, path: Path) -> str | None:
    """What is wrong with the text of an error; None where nothing is."""
    if not text.startswith(str(path)):
        return f"an error that does not start with the path: {text[:300]!r}"
    if len(text) - len(str(path)) > _LONGEST_TEXT:
        return f"an error of {len(text)} characters: {text[:300]!r}"
    if not text.isprintable():
        return f"an error that is not printable: {text[:300]!r}"
    return None


def _memory_problem(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, MemoryError):
            return f"asks for too much memory: {error}"
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


# Variant: the path to read, and the files by path.
_Seeds = dict[str, tuple[str, dict[str, bytes]]]


def _seeds(name: str, folder: Path) -> _Seeds:
    seeds: _Seeds = {}
    for (format_name, variant), write in SEEDS.items():
        if format_name == name:
            place = folder / f"seed {variant}"
            place.mkdir()
            target = write(place).relative_to(place)
            files = sorted(file for file in place.rglob("*") if file.is_file())
            contents = {str(file.relative_to(place)): file.read_bytes() for file in files}
            seeds[variant] = (str(target), contents)
    return seeds


def _damaged(name: str, variant: str, seeds: _Seeds, chance: random.Random) -> dict[str, bytes]:
    """The files of a variant, one of them damaged."""
    files = dict(seeds[variant][1])
    file = chance.choice([file for file, content in files.items() if content])
    others = [content for _, found in seeds.values() for content in found.values()]
    how = _mutate.behind_checksums if chance.random() < 0.6 else _mutate.damaged
    files[file] = how(files[file], others, name, chance)
    return files


def _write(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
