"""Evaluation protocols: the views of a video, windows in time by crops, and how they are averaged.

A result without its protocol says little: the same network gains several points from thirty views.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.io import listing
from common.preprocessing import clips, crops
from common.preprocessing.contracts import InputContract
from common.preprocessing.crops import Corner

COUNTS = {"center": 1, "three": 3}
"""Crops of a window, by the name of their choice."""

Floats = NDArray[np.float32]

ScoredView = tuple[Sequence[int], Floats]
"""The indices of a view's frames, and its logits: [K], or [T, K] of frames."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a video is cut into views, and how their scores become the score of the video.

    A size of 0 is open, as is a short side of None: the network's input contract fills it.

    Attributes:
        name: The key in `PROTOCOLS`.
        source: Who evaluates in this way.
        temporal: The windows: "whole" is one of all frames, at most `frames`; "center" one in the
            middle; "even" `clips` of them from start to end; "sliding" one every `stride` frames;
            "cover" as many as it takes for each to share half its frames with the next.
        frames: Frames of a view.
        rate: A view takes every `rate`-th frame.
        clips: The number of windows of "even".
        stride: Frames from one window of "sliding" to the next; 0 is the length of a window.
        crops: "center", or "three" along the longer side.
        short_side: Pixels that the shorter side is resized to; 0 is the crop's side.
        crop: Side of the crop, pixels.
        least: The fewest frames that the network takes; a shorter "whole" clip loops.
        average: "logits" takes the mean of the views' logits, "softmax" of their probabilities.
    """

    name: str
    source: str
    temporal: str = "whole"
    frames: int = 0
    rate: int = 0
    clips: int = 1
    stride: int = 0
    crops: str = "center"
    short_side: int | None = None
    crop: int = 0
    least: int = 1
    average: str = "logits"

    def filled(self, contract: InputContract, least: int = 1) -> "Protocol":
        """The protocol with its open fields taken from a contract.

        Args:
            contract: The network's input contract.
            least: The fewest frames that the network takes; see `arch.smallest_size`.
        """
        crop = self.crop or contract.crop
        frames = self.frames or contract.frames
        short = max(crop, contract.short_side) if self.short_side is None else self.short_side
        return dataclasses.replace(
            self,
            frames=frames,
            rate=self.rate or contract.stride,
            stride=self.stride or frames,
            crop=crop,
            least=least,
            short_side=short or crop,
        )

    @property
    def text(self) -> str:
        """The whole protocol for people, once it is `filled`."""
        rate = {1: "every", 2: "every 2nd", 3: "every 3rd"}.get(self.rate, f"every {self.rate}th")
        windows = {
            "whole": f"the whole clip, up to {self.frames} frames",
            "center": f"1 window of {self.frames} frames in the middle",
            "even": f"{self.clips} windows of {self.frames} frames, evenly spread",
            "sliding": f"windows of {self.frames} frames, a new one after {self.stride}",
            "cover": f"windows of {self.frames} frames that share half of them",
        }[self.temporal]
        spatial = {"center": "the centre crop", "three": "3 crops along the longer side"}
        average = {"logits": "mean of the logits", "softmax": "mean of the probabilities"}
        return (
            f"{self.name}: {windows}, {rate} frame; {spatial[self.crops]} of {self.crop}x"
            f"{self.crop}, short side {self.short_side}; {average[self.average]} ({self.source})"
        )

    def record(self) -> dict[str, object]:
        """The whole protocol as JSON and as text."""
        return {"text": self.text, **dataclasses.asdict(self)}

    def windows(self, total: int) -> list[list[int]]:
        """The 0-based frames of each window of a video of `total` frames; a short clip loops.

        Raises:
            ValueError: The video has no frames.
        """
        frames, rate = self.frames, self.rate
        if self.temporal == "whole":
            least = (self.least - 1) * rate + 1
            return [clips.whole(total, frames * rate, least)[::rate]]
        if self.temporal == "even":
            return clips.even_windows(total, frames, rate, self.clips)
        if self.temporal == "sliding":
            return clips.sliding_windows(total, frames, rate, self.stride)
        span = (frames - 1) * rate + 1
        if self.temporal == "center" or total <= span:
            return [clips.center_window(total, frames, rate)]
        # "cover" does not loop, which would show the network a cut that is not there.
        last = total - span
        steps = -(-last // max(1, span // 2))
        starts = [step * last // steps for step in range(steps + 1)]
        return [list(range(start, start + span, rate)) for start in starts]

    def corners(self, height: int, width: int) -> list[Corner]:
        """The corner of each crop, in frames whose shorter side is the protocol's.

        Raises:
            ValueError: The crop does not fit.
        """
        if self.crops == "three":
            return list(crops.three_corners(height, width, self.crop))
        return [crops.center_corner(height, width, self.crop)]


_ROWS = (
    # google-deepmind/kinetics-i3d: convolutional over up to 10 s at 25 fps, 224 of 256 pixels.
    Protocol("quo_vadis", "Carreira and Zisserman, CVPR 2017", frames=250),
    # facebookresearch/video-nonlocal-net, section 5 of the paper. There each position of a view
    # has its softmax, which are averaged; here the network averages the positions' logits.
    Protocol(
        "thirty_view", "Wang et al., CVPR 2018",
        "even", clips=10, crops="three", short_side=256, crop=256, average="softmax",
    ),
    # Validation during training: cheap, and some points below the others.
    Protocol("clip", "one view", "center"),
    # inference.py of kenshohara/3D-ResNets-PyTorch: windows without overlap (inference_stride
    # is sample_duration by default), the picture resized to the crop, mean of the softmax.
    Protocol("sliding", "Hara et al., CVPR 2018", "sliding", short_side=0, average="softmax"),
    # For labels of frames: each frame has the mean logits of the one or two windows it is in.
    Protocol("every_frame", "for labels of frames", "cover"),
)  # fmt: skip

PROTOCOLS = {each.name: each for each in _ROWS}


def get(name: str) -> Protocol:
    """The protocol of that name; raises `ValueError` where there is none."""
    if name not in PROTOCOLS:
        raise ValueError(
            f"no such protocol. Expected one of {listing(PROTOCOLS)}. Received: {name!r}."
        )
    return PROTOCOLS[name]


def mean_of_views(views: Sequence[Floats], how: str) -> Floats:
    """The mean over the views of a video, computed in float64.

    Args:
        views: Logits [K] of each view.
        how: "logits", or "softmax": the logarithm of the mean of the views' probabilities.

    Raises:
        ValueError: They are not finite.
    """
    values = np.stack(views).astype(np.float64)
    with np.errstate(invalid="ignore"):  # refused below
        if how == "softmax":  # in logarithms, in which no small probability vanishes
            values -= np.logaddexp.reduce(values, axis=1, keepdims=True)
            mean = np.logaddexp.reduce(values, axis=0) - np.log(len(values))
        else:
            mean = values.mean(axis=0)
    return _finite(mean.astype(np.float32))


def mean_of_frames(
    views: Sequence[ScoredView], moments: Sequence[int], rate: int
) -> tuple[Floats, Floats]:
    """The mean logits of frames over the views that show them.

    Args:
        views: Frame indices of each view and their logits [T, K].
        moments: The frames asked for.
        rate: Views take every `rate`-th frame; one between takes the logits of the nearest.

    Returns:
        [K], the largest logits of any frame; and [P, K], those of the moments.

    Raises:
        ValueError: They are not finite, or a moment is in no view.
    """
    indices, logits = [], []
    for frames, values in views:
        # A clip that loops shows a frame again, out of place: only the first time counts.
        shown, first = np.unique(np.array(frames), return_index=True)
        indices.append(shown)
        logits.append(values[first])
    shown, places = np.unique(np.concatenate(indices), return_inverse=True)
    sums = np.zeros((len(shown), logits[0].shape[1]), np.float32)
    np.add.at(sums, places, np.concatenate(logits))
    means = _finite((sums / np.bincount(places)[:, None]).astype(np.float32))
    wanted = np.array(moments, np.intp)
    after = np.searchsorted(shown, wanted).clip(0, len(shown) - 1)
    before = (after - 1).clip(0)
    distances = np.abs(shown[[before, after]] - wanted)
    far = np.min(distances, axis=0) >= rate
    if far.any():
        raise ValueError(
            f"frame {wanted[far][0]} is in no view of it. Use the protocol every_frame."
        )
    return means.max(axis=0), means[np.where(distances[0] <= distances[1], before, after)]


def _finite(logits: Floats) -> Floats:
    if not np.isfinite(logits).all():
        raise ValueError("its logits are not finite. Check the weights.")
    return logits
