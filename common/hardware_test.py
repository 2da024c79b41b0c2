"""How many processors there are, what of them is ours, and memory that runs out."""

import os

import pytest

from common import hardware


def test_processors_that_are_ours(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5}, raising=False)
    assert hardware.processors() == 2  # in a container
    for share, count in {"3": 3, "4,2": 4, "0": 1, "": 1, "many": 1}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", share)
        assert hardware.own_threads() == count
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert hardware.own_threads() == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [("flags\t: fpu avx512_fp16 amx_fp16", True), ("flags : avx512_bf16 avx512f", False),
     ("Features : fp asimdhp", True), (None, True)],
)  # fmt: skip
def test_float16_is_what_the_system_says_of_it(monkeypatch, tmp_path, text, found):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(hardware, "_CPUS", tmp_path / "cpuinfo")
    assert hardware.has_float16() == found
