"""Evaluation protocols: which frames and which part of them make up the views of a video.

A result without its protocol says little: the same network gains several points from thirty views.
"""

import dataclasses

from common.io import listing
from common.preprocessing import clips, crops
from common.preprocessing.contracts import InputContract

TEMPORAL = ("whole", "center", "even", "sliding", "cover")

COUNTS = {"center": 1, "three": 3}
"""Crops of a window, by the name of their choice."""

AVERAGES = ("logits", "softmax")

Views = list[tuple[list[int], crops.Corner]]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a video is cut into views, and how what they score becomes the score of the video.

    What is None is left open, and the network's input contract fills it: see `filled`.

    Attributes:
        name: In `PROTOCOLS`.
        source: Who evaluates so.
        temporal: Which windows: "whole" is one, all frames up to `frames`; "center" one in the
            middle; "even" `clips` of them, from begin to end; "sliding" one every `stride` frames;
            "cover" as many as it takes for each to share half its frames with the next.
        frames: Of a view; of "whole", at most.
        rate: Every so-many-th frame is taken.
        clips: Windows of "even".
        stride: Frames from one window of "sliding" to the next; as long as a window, when open.
        crops: "center", or "three" along the longer side.
        short_side: The shorter side is resized to it, pixels; 0 makes it as long as the crop.
        crop: Side of the crop, pixels.
        least: Frames of a view that the network needs; of "whole", a shorter clip loops.
        average: Of the views: "logits" is their mean, "softmax" the mean of the probabilities.
    """

    name: str
    source: str
    temporal: str = "whole"
    frames: int | None = None
    rate: int | None = None
    clips: int = 1
    stride: int | None = None
    crops: str = "center"
    short_side: int | None = None
    crop: int | None = None
    least: int = 1
    average: str = "logits"

    def __post_init__(self) -> None:
        for field, known in (("temporal", TEMPORAL), ("crops", COUNTS), ("average", AVERAGES)):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"{field} must be one of {listing(known)}. Received: {getattr(self, field)!r}."
                )
        for field, least in (
            ("frames", 1), ("rate", 1), ("clips", 1), ("stride", 1), ("crop", 1), ("least", 1),
            ("short_side", 0),
        ):  # fmt: skip
            value = getattr(self, field)
            if value is not None and value < least:
                raise ValueError(f"{field} must be at least {least}. Received: {value}.")
        if self.short_side and self.crop and self.crop > self.short_side:
            raise ValueError(
                f"a crop of {self.crop} pixels does not fit into a short side of {self.short_side}."
            )

    def filled(self, contract: InputContract, least: int = 1) -> "Protocol":
        """The protocol with what it leaves open taken from the contract.

        Args:
            contract: What the network expects.
            least: Frames it needs: `arch.smallest_size`.
        """
        crop = self.crop or contract.crop
        frames = self.frames or contract.frames
        return dataclasses.replace(
            self,
            frames=frames,
            rate=self.rate or contract.stride,
            stride=self.stride or frames,
            crop=crop,
            least=least,
            short_side=max(crop, contract.short_side) if self.short_side is None else
            self.short_side or crop,
        )  # fmt: skip

    @property
    def text(self) -> str:
        """All of it, for people; what is still open is the network's."""
        frames = "its" if self.frames is None else self.frames
        rate = {None: "every so-many-th", 1: "every"}.get(self.rate, f"every {_th(self.rate)}")
        stride = self.stride or "as many"
        windows = {
            "whole": f"the whole clip, up to {frames} frames",
            "center": f"1 window of {frames} frames in the middle",
            "even": f"{self.clips} windows of {frames} frames, evenly spread",
            "sliding": f"windows of {frames} frames, a new one after {stride}",
            "cover": f"windows of {frames} frames that share half of them",
        }[self.temporal]
        spatial = {"center": "the centre crop", "three": "3 crops along the longer side"}
        side = f"{self.crop}x{self.crop}" if self.crop else "the network's size"
        short = f"{self.short_side or self.crop}" if self.crop else "the network's"
        average = {"logits": "mean of the logits", "softmax": "mean of the probabilities"}
        return (
            f"{self.name}: {windows}, {rate} frame; {spatial[self.crops]} of {side}, short side "
            f"{short}; {average[self.average]} ({self.source})"
        )

    def record(self) -> dict[str, object]:
        """All of it as JSON has it, and as text."""
        return {"text": self.text, **dataclasses.asdict(self)}


_I3D = "Carreira and Zisserman, CVPR 2017"

PROTOCOLS = {
    each.name: each
    for each in (
        # Convolutional over time, up to 10 s at 25 fps: google-deepmind/kinetics-i3d. 224 of 256.
        Protocol("quo_vadis", _I3D, frames=250),
        # facebookresearch/video-nonlocal-net, section 5 of the paper. There the softmax is taken at
        # each place of a view and then averaged; here the network averages the places' logits.
        Protocol(
            "thirty_view",
            "Wang et al., CVPR 2018",
            temporal="even",
            clips=10,
            crops="three",
            short_side=256,
            crop=256,
            average="softmax",
        ),
        # What training looks at now and then: cheap, and some points below the others.
        Protocol("clip", "one view", temporal="center"),
        # inference.py of kenshohara/3D-ResNets-PyTorch: windows without overlap (inference_stride
        # is sample_duration by default), the picture resized to the crop, mean of the softmax.
        Protocol(
            "sliding",
            "Hara et al., CVPR 2018",
            temporal="sliding",
            short_side=0,
            average="softmax",
        ),
        # For labels of frames: each is in one or two windows, and its logits' mean counts.
        Protocol("every_frame", "for labels of frames", temporal="cover"),
    )
}


def get(name: str) -> Protocol:
    """The protocol of that name; raises `ValueError` where there is none."""
    if name not in PROTOCOLS:
        raise ValueError(
            f"no such protocol. Expected one of {listing(PROTOCOLS)}. Received: {name!r}."
        )
    return PROTOCOLS[name]


def windows(protocol: Protocol, total: int) -> list[list[int]]:
    """The frames of each window: 0-based, of the `total` that there are; a short clip loops.

    Raises:
        ValueError: A clip without frames, or a protocol that is not `filled`.
    """
    frames, rate = _known(protocol.frames, "frames"), _known(protocol.rate, "rate")
    if protocol.temporal == "whole":
        least = (protocol.least - 1) * rate + 1
        return [clips.whole(total, frames * rate, least)[::rate]]
    if protocol.temporal == "even":
        return clips.even_windows(total, frames, rate, protocol.clips)
    if protocol.temporal == "sliding":
        return clips.sliding_windows(total, frames, rate, _known(protocol.stride, "stride"))
    if protocol.temporal == "cover" and total > (frames - 1) * rate + 1:
        return _covering(total, frames, rate)
    return [clips.center_window(total, frames, rate)]


def corners(protocol: Protocol, height: int, width: int) -> list[crops.Corner]:
    """The corner of each crop, in frames whose shorter side is the protocol's.

    Raises:
        ValueError: The crop does not fit, or a protocol that is not `filled`.
    """
    size = _known(protocol.crop, "crop")
    if protocol.crops == "three":
        return list(crops.three_corners(height, width, size))
    return [crops.center_corner(height, width, size)]


def views(protocol: Protocol, total: int, height: int, width: int) -> Views:
    """Frames and corner of each view of a video: all crops of a window, then the next window.

    Args:
        protocol: `filled`.
        total: Frames there are.
        height: Of the resized frames, pixels.
        width: Of the resized frames, pixels.

    Raises:
        ValueError: As `windows` and `corners`.
    """
    places = corners(protocol, height, width)
    return [(window, corner) for window in windows(protocol, total) for corner in places]


def _covering(total: int, frames: int, rate: int) -> list[list[int]]:
    """The fewest windows from begin to end that share half of them, or more, with the next.

    All within the clip: a window that loops would show the network a cut that is not there.
    """
    span = (frames - 1) * rate + 1
    last = total - span
    steps = -(-last // max(1, span // 2))
    starts = [j * last // steps for j in range(steps + 1)]
    return [list(range(start, start + span, rate)) for start in starts]


def _th(number: int | None) -> str:
    return {2: "2nd", 3: "3rd"}.get(number or 0, f"{number}th")


def _known(value: int | None, field: str) -> int:
    if value is None:
        raise ValueError(f"{field} is open in the protocol. Fill it from an input contract first.")
    return value
