"""Rates and shares of time, on a clock that is turned by hand."""

import pytest

from common.training import clock
from common.training.clock import Clock


def test_what_is_no_training_does_not_count(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    found = Clock()
    for waited in (0.5, 1.0):  # two steps of 2 seconds, a quarter of it waiting
        found.waited(waited)
        now[0] += 2
    assert found.lap(batch=6) == {"clips_per_second": 3.0, "data_wait": 0.25}
    found.waited(1.5)
    now[0] += 50  # an evaluation
    found.skip()
    found.waited(2.5)
    now[0] += 4
    assert found.lap(batch=6) == {"clips_per_second": 1.5, "data_wait": 0.25}
    found.waited(9.5)
    now[0] += 1
    assert found.lap(batch=1)["data_wait"] == pytest.approx(1.0)  # seven seconds of one
