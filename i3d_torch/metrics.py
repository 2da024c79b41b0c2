"""Fréchet Video Distance as a metric in PyTorch; the twin of `i3d_tf/metrics.py`."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import distributed

from common.fvd import metric, statistics
from common.fvd.statistics import Statistics
from i3d_torch import predictor


class FVD(metric.FVD):
    """See `common.fvd.metric.FVD`; with torch.distributed `compute` is of all ranks' videos."""

    def __init__(
        self,
        recipe: str = "google",
        checkpoint: str | os.PathLike[str] = metric.CHECKPOINT,
        **options: Any,
    ):
        super().__init__(predictor.make_predictor, recipe, checkpoint, **options)

    @staticmethod
    def _as_array(videos: Any) -> np.ndarray:
        return np.asarray(videos.cpu() if isinstance(videos, torch.Tensor) else videos)

    def _reduced(self) -> Iterator[Statistics]:
        if not (distributed.is_available() and distributed.is_initialized()):
            yield from self.sides.values()
            return
        for side in self.sides.values():
            arrays = side.arrays()
            features = arrays.pop("features", None)
            summed = {name: _all(array).sum(axis=0) for name, array in arrays.items()}
            if features is not None:
                most = _all(arrays["count"]).max()
                padded = np.full((most, features.shape[1]), np.nan, np.float32)
                padded[: len(features)] = features
                rows = _all(padded).reshape(-1, features.shape[1])
                summed["features"] = rows[~np.isnan(rows).any(axis=1)]
            yield statistics.of_arrays(side.made, summed)


def _all(array: np.ndarray) -> np.ndarray:
    """The arrays of all ranks, of one shape, stacked."""
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    own = torch.from_numpy(np.ascontiguousarray(array)).to(device)
    found = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, own)
    return torch.stack(found).cpu().numpy()
