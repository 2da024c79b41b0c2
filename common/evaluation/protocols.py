"""Evaluation protocols: the views of a video, windows in time by crops, and their average."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.preprocessing import crops
from common.preprocessing.contracts import RGB_CONTRACT, InputContract
from common.preprocessing.crops import Corner

Floats = NDArray[np.float32]

ScoredView = tuple[Sequence[int], Floats]  # indices of frames; logits [K], or [T, K] of frames


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a video is cut into views, and how their scores become the score of the video."""

    name: str  # the key in `PROTOCOLS`
    source: str  # who evaluates in this way
    # "whole" clip; windows: "center", one; "even", ten; "sliding", one after the other; "cover",
    # which share half of their frames.
    temporal: str
    frames: int = 0  # of a view; this and `rate`, if 0, are the contract's
    rate: int = 0  # a view takes every `rate`-th frame
    crops: int = 1  # in the centre, or 3 along the longer side
    short_side: int | None = None  # pixels; 0 is the crop's side, None the contract's short side
    crop: int = 0  # pixels, where the contract has the usual 224; 0, or else, the contract's
    least: int = 1  # the fewest frames that the network takes; a shorter "whole" clip loops
    average: str = "logits"  # the mean of the views' logits, or "softmax": of their probabilities

    def filled(self, contract: InputContract, least: int = 1) -> "Protocol":
        """The protocol for a network with this input contract that takes `least` frames or more."""
        usual = contract.crop == RGB_CONTRACT.crop
        crop = self.crop if self.crop and usual else contract.crop
        short = max(crop, contract.short_side) if self.short_side is None else self.short_side
        frames, rate = self.frames or contract.frames, self.rate or contract.stride
        return dataclasses.replace(
            self, frames=frames, rate=rate, crop=crop, short_side=short or crop, least=least
        )

    def record(self) -> dict[str, object]:
        """The whole protocol as JSON and, once it is `filled`, as text for people."""
        text = (
            f"{self.name} ({self.source}): {self.temporal}, {self.frames} frames, stride "
            f"{self.rate}, crops: {self.crops} of {self.crop}x{self.crop}, short side "
            f"{self.short_side}, mean of {self.average}"
        )
        return {"text": text, **dataclasses.asdict(self)}

    def windows(self, total: int) -> list[list[int]]:
        """The 0-based frames of each window of a video of `total` frames; a short clip loops."""
        frames, rate = self.frames, self.rate
        if self.temporal == "whole":
            least = (self.least - 1) * rate + 1
            return [crops.whole(total, frames * rate, least)[::rate]]
        if self.temporal == "even":
            return crops.even_windows(total, frames, rate, 10)
        if self.temporal == "sliding":
            return crops.sliding_windows(total, frames, rate, frames)
        span = (frames - 1) * rate + 1
        if self.temporal == "center" or total <= span:
            return [crops.center_window(total, frames, rate)]
        # "cover" does not loop, which would show the network a cut that is not there.
        last = total - span
        steps = -(-last // max(1, span // 2))
        starts = [step * last // steps for step in range(steps + 1)]
        return [list(range(start, start + span, rate)) for start in starts]

    def corners(self, height: int, width: int) -> list[Corner]:
        """The corner of each crop, in frames whose shorter side is the protocol's."""
        if self.crops == 3:
            return list(crops.three_corners(height, width, self.crop))
        return [crops.center_corner(height, width, self.crop)]


_ROWS = (
    # google-deepmind/kinetics-i3d: convolutional over up to 10 s at 25 fps, 224 of 256 pixels.
    Protocol("quo_vadis", "Carreira and Zisserman, CVPR 2017", "whole", frames=250),
    # facebookresearch/video-nonlocal-net, section 5 of the paper. There each position of a view
    # has its softmax, which are averaged; here the network averages the positions' logits.
    Protocol("thirty_view", "Wang et al., CVPR 2018", "even", crops=3, crop=256, average="softmax"),
    # Validation during training: cheap, and some points below the others.
    Protocol("clip", "one view", "center"),
    # inference.py of kenshohara/3D-ResNets-PyTorch: windows without overlap (inference_stride
    # is sample_duration by default), the picture resized to the crop, mean of the softmax.
    Protocol("sliding", "Hara et al., CVPR 2018", "sliding", short_side=0, average="softmax"),
    # For labels of frames: each frame has the mean logits of the one or two windows it is in.
    Protocol("every_frame", "for labels of frames", "cover"),
)

PROTOCOLS = {each.name: each for each in _ROWS}


def mean_of_views(views: Sequence[Floats], how: str) -> Floats:
    """The mean of finite logits [K] over views; of "softmax", the log of the mean probability."""
    values = np.stack(views).astype(np.float64)
    if how == "softmax":  # in logarithms, in which no small probability vanishes
        values -= np.logaddexp.reduce(values, axis=1, keepdims=True)
        values = np.logaddexp.reduce(values, axis=0, keepdims=True) - np.log(len(values))
    return np.asarray(values.mean(axis=0), np.float32)


def mean_of_frames(
    views: Sequence[ScoredView], moments: Sequence[int], rate: int
) -> tuple[Floats, Floats]:
    """The mean of finite logits [T, K] of frames over the views that show them.

    Views take every `rate`-th frame; one between takes the logits of the nearest. Returns the
    largest logits of any frame, [K], and those of the moments, [P, K]; `ValueError` if a moment is
    in no view.
    """
    total = 1 + max(max(frames) for frames, _ in views)
    sums = np.zeros((total, views[0][1].shape[1]), np.float32)
    counts = np.zeros((total, 1), np.float32)
    for frames, logits in views:
        # A clip that loops shows a frame again, out of place: only the first time counts.
        indices, first = np.unique(np.array(frames), return_index=True)
        sums[indices] += logits[first]
        counts[indices] += 1
    shown = np.flatnonzero(counts)
    means = sums[shown] / counts[shown]
    nearest = np.searchsorted((shown[1:] + shown[:-1]) / 2, moments)
    far = np.flatnonzero(np.abs(shown[nearest] - moments) >= rate)
    if len(far):
        raise ValueError(f"frame {moments[far[0]]} is in no view: use the protocol every_frame.")
    return means.max(axis=0), means[nearest]
