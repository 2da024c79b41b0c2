"""FVD as a metric that is updated with batches of videos, whatever the framework."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from common import arch, models
from common.fvd import distance, statistics
from common.fvd.recipes import RECIPES, SIDE, Recipe
from common.fvd.statistics import Statistics
from common.io import listing
from common.models import MakePredictor, Model
from common.preprocessing.crops import Frames

Floats = NDArray[np.float32]

CHECKPOINT = "rgb_scratch"  # whose weights are those of TF-Hub's i3d-kinetics-400/1, bit for bit
MIN_FRAMES = 9  # 8 leave one time step, and InceptionI3D's last pool needs two


class Network:
    """A network under a recipe's epsilon, which computes the features of prepared clips.

    Every batch has the same number of clips, if need be with zeros, so that a clip's features do
    not depend on how many there are.
    """

    def __init__(
        self,
        make: MakePredictor,
        model: Model,
        eps: float,
        device: str = "auto",
        precision: str = "float32",
        batch_size: int | None = None,
    ):
        self.net = model.net
        changed = dataclasses.replace(model, net=arch.with_eps(model.net, eps))
        self._predictor = make(changed, device=device, precision=precision)
        self._batch_size = batch_size

    def batch_size(self, frames: int) -> int:
        size = frames, SIDE, SIDE
        return self._batch_size or models.busy_batch(self.net, size, self._predictor.on_gpu)

    def features(self, clips: Sequence[Floats]) -> Floats:
        """The logits [B, D], averaged over time, of B prepared clips [T, 224, 224, 3]."""
        size, rows = self.batch_size(len(clips[0])), []
        for start in range(0, len(clips), size):
            some = clips[start : start + size]
            batch = np.zeros((size, *some[0].shape), np.float32)
            np.stack(some, out=batch[: len(some)])
            rows.append(self._predictor.scores(batch, prepared=True)[: len(some)])
        return np.concatenate(rows)


def load(checkpoint: str | os.PathLike[str], architecture: str | None = None) -> Model:
    """Reads weights as `models.load`; `ValueError` unless they are an InceptionI3D of RGB."""
    model = models.load(checkpoint, "rgb", architecture)
    if model.net.name.partition("_resnet")[0] != "inception_i3d":
        raise ValueError(
            f"{checkpoint}: FVD is defined by InceptionI3D. Received: {model.net.name}."
        )
    return model


def digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The SHA-256 of weights, whatever file they are in."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(name.encode() + np.ascontiguousarray(arrays[name], "<f4").tobytes())
    return found.hexdigest()


def find(name: str) -> Recipe:
    if name not in RECIPES:
        expected = listing(RECIPES)
        raise ValueError(f"no such recipe. Expected one of {expected}. Received: {name!r}.")
    return RECIPES[name]


class FVD:
    """The Fréchet Video Distance of two sets of videos; `i3d_torch.FVD` and `i3d_tf.FVD`.

        metric = i3d_torch.FVD(recipe="tats")
        metric.update(real_videos, real=True)     # [B, T, H, W, 3] uint8
        metric.update(generated, real=False)
        print(metric.compute())

    With torch.distributed running, `compute` sums over all ranks, and every rank returns the value.

    Attributes:
        sides: The `Statistics` of "real" and "fake"; they can be written and merged.
    """

    def __init__(
        self,
        make: MakePredictor,
        recipe: str = "google",
        checkpoint: str | os.PathLike[str] = CHECKPOINT,
        *,
        device: str = "auto",
        precision: str = "float32",
        keep_features: bool = False,
        batch_size: int | None = None,
    ):
        """Reads the weights; see `recipes.RECIPES`, `models.load` and `CheckpointSettings`.

        `keep_features` keeps the features of every clip, which `compute_kernel` needs.
        """
        self.recipe = find(recipe)
        model = load(checkpoint)
        self._network = Network(make, model, self.recipe.eps, device, precision, batch_size)
        weights = digest(model.arrays)
        self._made = {"recipe": recipe, "weights": weights, "precision": precision}
        self._keep = keep_features
        self.reset()

    def reset(self) -> None:
        """Forgets all videos."""
        size = self._network.net.num_classes
        self.sides = {
            side: Statistics({}, self._keep, 0, np.zeros(size), np.zeros((3, size, size)))
            for side in ("real", "fake")
        }

    def update(self, videos: Any, real: bool) -> None:
        """Adds videos [B, T, H, W, 3], uint8 RGB, an array or a tensor of any device.

        Raises `ValueError` for other videos, or fewer than 9 frames, or another number than before.
        """
        clips = _checked(self._as_array(videos))
        made = {**self._made, "frames": clips.shape[1]}
        side = self.sides["real" if real else "fake"]
        statistics.check_same([*self.sides.values(), Statistics(made)])
        side.made = side.made or made
        size = self._network.batch_size(clips.shape[1])
        for start in range(0, len(clips), size):
            prepared = [self.recipe.prepare(clip) for clip in clips[start : start + size]]
            side.add(self._network.features(prepared))

    def merge(self, *others: Self) -> None:
        """Adds the videos of other metrics; `ValueError` if they were made in another way."""
        for name, side in self.sides.items():
            statistics.check_same([*self.sides.values(), *(x.sides[name] for x in others)])
            side.merge(*(other.sides[name] for other in others if other.sides[name].count))

    def load(self, path: str | os.PathLike[str], real: bool) -> None:
        """Adds a file of statistics, such as those of a data set; see `statistics.read`."""
        read, _ = statistics.read(Path(path))
        side = self.sides["real" if real else "fake"]
        statistics.check_same([Statistics(self._made), *self.sides.values(), read])
        side.merge(read)

    def compute(self) -> float:
        """The distance; `ValueError` unless both sets have clips enough for a covariance."""
        real, fake = self._reduced()
        return distance.frechet(real, fake, self.recipe)

    def compute_kernel(self) -> float:
        """KVD, see `distance.kernel`; `ValueError` without `keep_features`."""
        real, fake = self._reduced()
        return distance.kernel(real.features, fake.features)

    def _reduced(self) -> Iterable[Statistics]:
        """The statistics of both sides over all ranks."""
        return self.sides.values()

    @staticmethod
    def _as_array(videos: Any) -> NDArray[Any]:
        return np.asarray(videos)


def _checked(videos: NDArray[Any]) -> Frames:
    expected = None
    if videos.dtype != np.uint8:
        expected = "uint8 RGB in 0..255"
    elif videos.ndim != 5 or videos.shape[-1] != 3 or not videos.size:
        expected = "videos [B, T, H, W, 3]"
    elif videos.shape[1] < MIN_FRAMES:
        expected = f"at least {MIN_FRAMES} frames: the network's last pool needs two time steps"
    if expected:
        got = f"{list(videos.shape)} of {videos.dtype}"
        raise ValueError(f"FVD: expected {expected}. Received: {got}.")
    return videos
