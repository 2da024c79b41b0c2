"""Devices, threads, and processes that train together; the twin of `i3d_tf/devices.py`."""

import contextlib
import datetime
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist

from common.training.loop import Rank

# The others wait while process 0 validates; torchrun notices a process that died.
_PATIENCE = datetime.timedelta(hours=12)


def choose(device: str = "auto") -> torch.device:
    """Where a network computes: on "cpu", "gpu", or with "auto" on a GPU if there is one.

    Each process of torchrun gets a GPU of its own. `ValueError` if there are none or too few.
    """
    if device == "gpu" and not torch.cuda.is_available():
        raise ValueError("there is no GPU that PyTorch can use. Leave out --device=gpu.")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    index, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if index >= count:
        raise ValueError(
            f"more processes than GPUs. Expected at most --nproc_per_node={count}. Received: "
            f"LOCAL_RANK={index}, counted from 0."
        )
    return torch.device("cuda", index)


def use_threads(count: int | None) -> None:
    """Computes with so many threads on a CPU; None leaves it as it is."""
    if count:
        os.environ["OMP_NUM_THREADS"] = str(count)  # for `hardware.own_threads`
        torch.set_num_threads(count)


@contextlib.contextmanager
def connected(threads: int | None = None) -> Iterator[tuple[Rank, dist.ProcessGroup | None]]:
    """Joins the processes of torchrun; yields this one's rank, and their group, None if alone.

    On a CPU the whole process computes the same bits every time. A GPU has no deterministic
    gradient of a max pool.
    """
    use_threads(threads)
    device = choose()
    gpu = device.type == "cuda"
    if gpu:  # a default device costs a little in every call
        torch.set_default_device(device)
    else:
        torch.use_deterministic_algorithms(True)
        # Else every new tensor is filled, for programs that read what they did not write.
        torch.utils.deterministic.fill_uninitialized_memory = False
    if not dist.is_torchelastic_launched():
        yield Rank("i3d_torch"), None
        return
    restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
    # torchrun keeps its store over a restart, with the addresses of processes that died.
    store, rank, count = next(dist.rendezvous("env://", timeout=_PATIENCE))
    store = dist.PrefixStore(f"restart_{restarts}", store)
    backend = "nccl" if gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        yield Rank("i3d_torch", rank, count), dist.group.WORLD
    finally:
        dist.destroy_process_group()
