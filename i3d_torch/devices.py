"""Where PyTorch computes, and with how many threads; the twin of `i3d_tf/devices.py`."""

import os

import torch

from common import hardware


def choose(device: str = "auto") -> torch.device:
    """Chooses where a network computes; each process of torchrun gets a GPU of its own.

    Args:
        device: "cpu", "gpu", or "auto": a GPU if there is one.

    Raises:
        ValueError: There is no GPU, or torchrun has started more processes than there are GPUs.
    """
    if device == "gpu" and not torch.cuda.is_available():
        raise ValueError("there is no GPU that PyTorch can use. Leave out --device=gpu.")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    index, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if index >= count:
        raise ValueError(
            "more processes than GPUs: each needs one of its own. Expected at most "
            f"--nproc_per_node={count}. Received: LOCAL_RANK={index}, counted from 0."
        )
    return torch.device("cuda", index)


def use_threads(count: int | None) -> None:
    """Computes with so many threads on a CPU; None leaves it as it is."""
    if count:
        hardware.set_own_threads(count)
        torch.set_num_threads(count)
