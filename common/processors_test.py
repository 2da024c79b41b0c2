"""How many processors there are, and what of them is ours."""

import os

import pytest

from common import processors


def test_a_container_may_have_fewer(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert processors.count() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processors.count() == 9


@pytest.mark.parametrize(
    ("share", "count"), [("3", 3), ("4,2", 4), ("0", 1), ("", 1), ("many", 1), (None, 1)]
)
def test_a_share_of_the_processors(monkeypatch, share, count):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if share is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", share)
    assert processors.share() == count


@pytest.mark.parametrize(
    ("text", "found"),
    [("flags\t: fpu avx512_fp16 amx_fp16", True), ("flags : avx512_bf16 avx512f", False),
     ("Features : fp asimdhp", True), (None, True)],
)  # fmt: skip
def test_float16_is_what_the_system_says_of_it(monkeypatch, tmp_path, text, found):
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(processors, "_CPUS", file)
    assert processors.has_float16() == found
