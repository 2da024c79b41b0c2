"""Processes that train together; the twin of `i3d_tf/processes.py`."""

import contextlib
import datetime
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist

from common.training.loop import Rank
from i3d_torch import devices

# The others wait while process 0 validates; torchrun notices a process that died.
_PATIENCE = datetime.timedelta(hours=12)


@contextlib.contextmanager
def connected(threads: int | None = None) -> Iterator[tuple[Rank, dist.ProcessGroup | None]]:
    """Joins the processes that torchrun has started, if it has, each with a GPU of its own.

    On a CPU the whole process becomes deterministic: it computes the same bits every time. A GPU
    has no deterministic gradient of a max pool.

    Args:
        threads: To compute with on a CPU; None changes nothing.

    Yields:
        The rank of this process, and the group that trains together; None trains alone.

    Raises:
        ValueError: torchrun has started more processes than there are GPUs.
    """
    devices.use_threads(threads)
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        # Else every new tensor is filled, for programs that read what they did not write.
        torch.utils.deterministic.fill_uninitialized_memory = False
    device = devices.choose()
    gpu = device.type == "cuda"
    if gpu:  # a default device costs a little in every call
        torch.set_default_device(device)
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
        yield Rank("i3d_torch", rank, count, restarts != "0"), dist.group.WORLD
    finally:
        dist.destroy_process_group()
