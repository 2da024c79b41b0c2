import pytest
import torch

from common import hardware
from common.training.loop import Rank
from i3d_torch import devices


def _gpus(monkeypatch, count, rank=None):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", str(rank))


@pytest.mark.parametrize(
    ("count", "rank", "device"),
    [(0, None, "cpu"), (0, 3, "cpu"), (1, None, "cuda:0"), (4, 3, "cuda:3")],
)
def test_each_process_has_a_gpu_where_there_is_one(monkeypatch, count, rank, device):
    _gpus(monkeypatch, count, rank)
    assert devices.choose() == torch.device(device)
    assert devices.choose("cpu") == torch.device("cpu")
    if count:
        assert devices.choose("gpu") == torch.device(device)
    else:
        with pytest.raises(ValueError, match="no GPU that PyTorch can use"):
            devices.choose("gpu")


def test_more_processes_than_gpus_are_refused(monkeypatch):
    _gpus(monkeypatch, 2, rank=2)
    with (
        pytest.raises(ValueError, match=r"more processes than GPUs.*nproc_per_node=2.*RANK=2"),
        devices.connected(),
    ):
        pass


def test_threads_are_those_that_are_asked_for(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    devices.use_threads(None)
    assert (torch.get_num_threads(), hardware.own_threads()) == (before, 7)
    try:
        devices.use_threads(1)
        assert (torch.get_num_threads(), hardware.own_threads()) == (1, 1)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["cpu", "cuda:3"])
def test_a_process_alone_trains_alone_on_its_device(monkeypatch, device):
    chosen = []
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr(devices, "choose", lambda: torch.device(device))
    monkeypatch.setattr(torch, "set_default_device", chosen.append)
    with devices.connected() as (rank, group):
        assert (rank, group) == (Rank("i3d_torch"), None)
    assert chosen == ([torch.device(device)] if device != "cpu" else [])
