"""What the tests of malicious checkpoints share: the judgement, and pickles that do harm."""

import os
import pickle
import struct
import subprocess
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from common.io import CheckpointError
from convert.formats import _fuzzing
from convert.formats import _pickle_writer as pickled

HUGE = 2**40
RAW = bytes(24)  # six float32
COMMAND = pickled.text("touch executed")


def refusal(module: ModuleType, path: Path) -> str:
    """The error of reading `path`, which is one readable line and costs little."""
    size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            module.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000 + 20 * size, f"{peak} bytes of memory for {size} of file"
    text = str(caught.value)
    problem = _fuzzing.text_problem(text, path)
    assert problem is None, problem  # printable, short, with the path
    return text


def recorded_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is called from now on of the functions that malicious files like best."""
    calls: list[tuple[Any, ...]] = []
    for name in ("system", "popen", "execv", "remove"):
        monkeypatch.setattr(os, name, lambda *args: calls.append(args))
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: calls.append(args))
    return calls


def dictionary(value: bytes) -> bytes:
    """A pickle of a dictionary whose entry "w" is a pickled value."""
    return b"\x80\4}" + pickled.text("w") + value + b"s."


def legacy(data: bytes) -> bytes:
    """The five pickles of torch's old container."""
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    start = b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\2M\xe9\3." + pickle.dumps(info, 2)
    return start + data + pickle.dumps(["0"], 2) + struct.pack("<q", 24) + bytes(96)


def by_name(path: str) -> bytes:
    """A function or class, pickled as a name."""
    module, _, name = path.rpartition(".")
    return pickled.name(module, name)


def called(path: str) -> bytes:
    """A call of a function with a command for a shell."""
    return by_name(path) + b"(" + COMMAND + b"tR"


def tensor(
    *,
    size: Sequence[int] = (6,),
    stride: Sequence[int] = (1,),
    offset: int = 0,
    count: int = 24,
    key: str = "0",
    kind: str = "FloatStorage",
    old: bool = False,
) -> bytes:
    """A pickled tensor in one of torch's two containers; each part of it can be a lie."""
    pid = [pickled.text("storage"), pickled.name("torch", kind), pickled.text(key)]
    pid += [pickled.text("cpu"), pickled.integer(count)] + [b"N"] * old
    parts = [pickled.group(pid) + b"Q", pickled.integer(offset)]
    parts += [pickled.integers(size), pickled.integers(stride), b"\x89", b"}"]
    return by_name("torch._utils._rebuild_tensor_v2") + pickled.group(parts) + b"R"
