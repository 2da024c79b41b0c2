"""The recipes that published values of FVD were computed with, each as one frozen value.

A recipe takes frames [T, H, W, 3], RGB in 0..255, and makes of them the float32 [T, 224, 224, 3]
that the network is given. The network is always InceptionI3D on the weights of `rgb_scratch`, and a
clip's features are its 400 logits; recipes differ in its batch norms' epsilon, too.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from common.preprocessing import crops
from common.preprocessing.crops import Frames
from common.preprocessing.frames import resize, resize_antialiased, tf1_neighbours, to_range

Floats = NDArray[np.float32]

SIDE = 224  # pixels of the network's input
_CDFVD_SIDE = 256  # pixels, the default resolution of cd-fvd's loader
_TFGAN_FLOOR = 1e-10


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What decides the value, beside the weights and the clips."""

    name: str
    source: str  # the code it is taken from
    spatial: str  # what `prepare` does, for people
    prepare: Callable[[Frames], Floats]
    eps: float  # of the network's batch norms
    ddof: int  # the covariance divides by N - ddof
    ridge: float = 0.0  # is added to the diagonals of both covariances
    # Eigenvalues below it are left as they are where others are replaced by their square root, as
    # TF-GAN's singular values are.
    floor: float = 0.0
    # Before `prepare`, for videos and frames that are decoded here; arrays are taken as they are.
    load: Callable[[Frames], Frames] | None = None
    verified: bool = True  # held against values that the authors' own code computes


def _google(frames: Frames) -> Floats:
    return to_range(resize(frames, SIDE, SIDE, tf1_neighbours))


def _straight(frames: Frames) -> Floats:
    return to_range(resize(frames, SIDE, SIDE))


def _cropped(frames: Frames) -> Floats:
    resized = resize(frames, *_short_side(frames, SIDE))
    return to_range(crops.center_crop(resized, SIDE))


def _scaled_first(frames: Frames) -> Floats:
    return resize(to_range(frames), SIDE, SIDE)


def _load_as_cdfvd(frames: Frames) -> Frames:
    resized = resize_antialiased(frames, *_short_side(frames, _CDFVD_SIDE))
    # By way of 0..1 and back, truncated: some values land a level lower than they were.
    unit = crops.center_crop(resized, _CDFVD_SIDE) / np.float32(255)
    return (unit * np.float32(255)).clip(0, 255).astype(np.uint8)


def _short_side(frames: Frames, side: int) -> tuple[int, int]:
    """Height and width with a short side of `side` and the other rounded up."""
    height, width = crops.size_of(frames)
    scale = side / min(height, width)
    if height < width:
        return side, math.ceil(width * scale)
    return math.ceil(height * scale), side


_STRAIGHT = "straight to 224x224, bilinear"
_CROPPED = "short side to 224 (the other rounded up), bilinear, centre crop"

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "google",
            "google-research/frechet_video_distance, with TensorFlow 1",
            "straight to 224x224, bilinear without half pixels (TensorFlow 1)",
            _google, eps=1e-3, ddof=1, floor=_TFGAN_FLOOR,
        ),
        Recipe(
            "videogpt",
            "wilson1yan/VideoGPT",
            _CROPPED,
            _cropped, eps=1e-5, ddof=1, floor=_TFGAN_FLOOR,
        ),
        Recipe(
            "tats",
            "songweige/TATS",
            _STRAIGHT,
            _straight, eps=1e-5, ddof=1, floor=_TFGAN_FLOOR,
        ),
        Recipe(
            "cdfvd",
            "songweige/content-debiased-fvd (cd-fvd 0.1.1, model i3d)",
            f"videos first as by its loader: short side to 256, antialiased; then {_STRAIGHT}",
            _straight, eps=1e-5, ddof=0, load=_load_as_cdfvd,
        ),
        Recipe(
            "fastvideo",
            "hao-ai-lab/FastVideo",
            "to [-1, 1] first, then straight to 224x224, bilinear",
            _scaled_first, eps=1e-3, ddof=1, ridge=1e-6,
        ),
        Recipe(
            "common_metrics",
            "JunyaoHu/common_metrics_on_video_quality, method videogpt",
            _CROPPED,
            _cropped, eps=1e-5, ddof=1,
        ),
        Recipe(
            "styleganv",
            "universome/stylegan-v; what its TorchScript archive does to frames was not read",
            _STRAIGHT,
            _straight, eps=1e-3, ddof=0, verified=False,
        ),
    )
}  # fmt: skip
