"""Processes that train together; the twin of `i3d_tf/processes.py`."""

import contextlib
import datetime
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist

from common.training.loop import Place
from i3d_torch import devices

# The others wait for the first process while it evaluates; torchrun notices one that died.
_PATIENCE = datetime.timedelta(hours=12)


def make_deterministic() -> None:
    """Lets torch compute the same bits every time on a CPU, in this whole process.

    Not on a GPU, where the gradient of a max pool has no deterministic implementation.
    """
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        # Else every new tensor is filled, for programs that read what they did not write.
        torch.utils.deterministic.fill_uninitialized_memory = False


@contextlib.contextmanager
def connected() -> Iterator[tuple[Place, dist.ProcessGroup | None]]:
    """Joins the processes that torchrun has started, if it has, each with a GPU of its own.

    Yields:
        Which process this is, and the ranks that train together; None trains alone.

    Raises:
        ValueError: torchrun has started more processes than there are GPUs.
    """
    device = devices.choose()
    gpu = device.type == "cuda"
    if gpu:  # What is set costs a little in every call.
        torch.set_default_device(device)
    if not dist.is_torchelastic_launched():
        yield Place("i3d_torch"), None
        return
    restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
    # torchrun keeps its store over a restart, with the addresses of the processes that died in it.
    store, rank, count = next(dist.rendezvous("env://", timeout=_PATIENCE))
    store = dist.PrefixStore(f"restart_{restarts}", store)
    backend = "nccl" if gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        place = Place("i3d_torch", rank, count, restarts != "0")
        yield place, dist.group.WORLD
    finally:
        dist.destroy_process_group()
