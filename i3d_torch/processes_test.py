"""How a process finds those that it trains with; the twin of `i3d_tf/processes_test.py`."""

import pytest
import torch

from common.training.loop import Rank
from i3d_torch import devices, processes


def test_a_process_alone_trains_alone(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr(devices, "choose", lambda: torch.device("cpu"))
    with processes.connected() as (rank, group):
        assert (rank, group) == (Rank("i3d_torch"), None)
    assert torch.get_default_device() == torch.device("cpu")


def test_the_gpu_of_a_process_is_the_default_device(monkeypatch):
    chosen = []
    monkeypatch.setattr(devices, "choose", lambda: torch.device("cuda", 3))
    monkeypatch.setattr(torch, "set_default_device", chosen.append)
    with processes.connected():
        assert chosen == [torch.device("cuda", 3)]


def test_a_process_without_a_gpu_joins_nobody(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="more processes than GPUs"), processes.connected():
        pass
