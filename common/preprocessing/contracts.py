"""What the frames of a clip must be before a network sees them, and what each network expects."""

import dataclasses

from common import arch

CHANNELS = {"rgb": 3, "flow": 2}


@dataclasses.dataclass(frozen=True)
class InputContract:
    """What the frames of a clip must be before a network sees them.

    Attributes:
        channels: "rgb", or "flow": x and y displacement to the next frame.
        channel_order: Of the last axis of a clip.
        frames: Frames of a clip at evaluation, at most; 64 when training (paper).
        fps: Frames a second of the video, before the stride.
        stride: Every so-many-th frame is taken.
        short_side: The shorter side is resized to it, bilinear; pixels.
        crop: Side of the centre crop; pixels.
        value_range: Of the values fed. RGB 0 to 255 is mapped onto it; flow is clipped to
            +-20 pixels first.
        mean: Of each channel, in 0 to 255; where it is given, values are standardised with it and
            `std`, and `value_range` means nothing.
        std: See `mean`.
    """

    channels: str = "rgb"
    channel_order: str = "RGB"
    frames: int = 250
    fps: float = 25.0
    stride: int = 1
    short_side: int = 256
    crop: int = 224
    value_range: tuple[float, float] = (-1.0, 1.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def values(self) -> str:
        """The values fed, for people."""
        if not self.mean:
            low, high = self.value_range
            return f"[{low:g}, {high:g}]"
        mean, std = ({*self.mean}, {*self.std})
        if len(mean) == len(std) == 1:
            return f"(x - {self.mean[0]:g}) / {self.std[0]:g}"
        mean_text, std_text = (", ".join(f"{x:.4g}" for x in xs) for xs in (self.mean, self.std))
        return f"(x - [{mean_text}]) / [{std_text}]"


RGB_CONTRACT = InputContract()
FLOW_CONTRACT = InputContract(channels="flow", channel_order="xy")

# What sees clips as the release's weights do.
RELEASED = ("inception_i3d", "inception_i3d_global")

# ImageNet's, in 0 to 255, as mmaction2 and GluonCV use them.
_IMAGENET = InputContract(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
# Kinetics', of facebookresearch/VMZ; torchvision has them rounded.
_KINETICS = InputContract(mean=(110.201, 100.64, 95.9966), std=(58.1489, 56.4701, 55.3324))
# facebookresearch/video-nonlocal-net, which PySlowFast and PyTorchVideo keep.
_NON_LOCAL = InputContract(mean=(114.75,) * 3, std=(57.375,) * 3)

# Frames and stride; the affine nets were trained on from these with longer clips.
_TIMINGS = {"8x8": (8, 8), "32x2": (32, 2)}
_AFFINE_TIMINGS = {"8x8": (32, 4), "32x2": (128, 1)}


def of_stream(architecture: str, stream: str) -> InputContract:
    """What a stream of an architecture is trained on: `usual`, or flow in [-1, 1] of its size.

    Raises:
        ValueError: There is no such architecture.
    """
    contract = usual(architecture)
    if stream != "flow":
        return contract
    order = FLOW_CONTRACT.channel_order
    return dataclasses.replace(
        contract, channels="flow", channel_order=order, value_range=(-1.0, 1.0), mean=(), std=()
    )


def usual(architecture: str) -> InputContract:
    """What the weights that people own of an architecture expect, RGB.

    The InceptionI3D contract is the paper's. The I3D ResNets see videos at their own rate, which is
    30 frames a second for most of Kinetics; R(2+1)D nets too, but for torchvision's, which see 15.

    Raises:
        ValueError: There is no such architecture.
    """
    arch.make(architecture)
    if architecture in RELEASED:
        return dataclasses.replace(RGB_CONTRACT, frames=64)
    if architecture == "inception_i3d_symmetric":
        return dataclasses.replace(_IMAGENET, frames=32, stride=2, fps=30.0)
    if architecture in arch.I3D_RESNETS:
        timing = next(timing for timing in _TIMINGS if f"_{timing}" in architecture)
        affine = architecture.endswith("_affine")
        frames, stride = (_AFFINE_TIMINGS if affine else _TIMINGS)[timing]
        values = _IMAGENET if architecture.endswith("32x2_padded") else _NON_LOCAL
        return dataclasses.replace(values, frames=frames, stride=stride, fps=30.0)
    by_authors = architecture.endswith("_vmz")
    shallow = architecture.startswith("r2plus1d_18")
    return dataclasses.replace(
        _KINETICS,
        frames=16 if shallow else 32,
        fps=30.0 if by_authors else 15.0,
        short_side=128,
        crop=112,
    )
