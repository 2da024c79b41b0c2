"""How many processors there are, and what of them is ours."""

import os

import numpy as np
import pytest

from common import hardware


def test_a_container_may_have_fewer(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert hardware.processors() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert hardware.processors() == 9


@pytest.mark.parametrize(
    ("share", "count"), [("3", 3), ("4,2", 4), ("0", 1), ("", 1), ("many", 1), (None, 1)]
)
def test_a_share_of_the_processors(monkeypatch, share, count):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if share is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", share)
    assert hardware.own_threads() == count


@pytest.mark.parametrize(
    ("text", "found"),
    [("flags\t: fpu avx512_fp16 amx_fp16", True), ("flags : avx512_bf16 avx512f", False),
     ("Features : fp asimdhp", True), (None, True)],
)  # fmt: skip
def test_float16_is_what_the_system_says_of_it(monkeypatch, tmp_path, text, found):
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(hardware, "_CPUS", file)
    assert hardware.has_float16() == found


CLIPS = np.zeros((4, 64, 32, 24, 3), np.uint8)


def test_memory_that_runs_out_is_explained():
    text = r"^out of memory with 4 clips of 64 x 32 x 24 \(.*\) at a time\. Raise .*=bfloat16\.$"
    reason = MemoryError("no\nmore")
    explained = hardware.explained(MemoryError, CLIPS, hardware.TRAINING)
    with pytest.raises(ValueError, match=text) as found, explained:
        raise reason
    assert found.value.__cause__ is reason


def test_another_error_stays_as_it_is():
    with pytest.raises(KeyError), hardware.explained(MemoryError, CLIPS, hardware.INFERENCE):
        raise KeyError
