"""Input contracts: what the frames of a clip must be before a network sees them."""

import dataclasses
import math

from common import arch

CHANNELS = {"rgb": 3, "flow": 2}

_COUNTS = ("frames", "stride", "short_side", "crop")

FLOW_BOUND = 20.0
"""Pixels at which flow is clipped (Carreira and Zisserman, CVPR 2017)."""


@dataclasses.dataclass(frozen=True)
class InputContract:
    """What a network expects of the frames of a clip.

    Attributes:
        channels: "rgb", or "flow": x and y displacement to the next frame.
        channel_order: Order of the channels.
        frames: Most frames of a clip in evaluation; training takes 64 (paper).
        fps: Frames per second of the video, before the stride.
        stride: Every `stride`-th frame is taken.
        short_side: Pixels of the shorter side after bilinear resizing.
        crop: Side of the centre crop in pixels.
        value_range: Range of the values fed. RGB is mapped from 0..255; flow is first clipped to
            +-`FLOW_BOUND` pixels.
        mean: Mean of each channel in 0..255, or one for all, in place of `value_range`.
        std: Standard deviations, as many.
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

    def __post_init__(self) -> None:
        """Raises `ValueError` for what no network can be fed, such as in a damaged model card."""
        size = CHANNELS.get(self.channels, 0) if isinstance(self.channels, str) else 0
        low, high = self.value_range if _are_numbers(self.value_range, 2) else (0.0, 0.0)
        fine = {
            "channels": size > 0,
            "channel_order": self.channel_order == ("RGB" if size == 3 else "xy"),
            **{name: _is_count(getattr(self, name)) for name in _COUNTS},
            "fps": _are_numbers((self.fps,), 1) and self.fps > 0,
            "value_range": low < high and math.isfinite(high - low),
            "mean": any(_are_numbers(self.mean, count) for count in (0, 1, size)),
            "std": _are_numbers(self.std, len(self.mean)) and all(std > 0 for std in self.std),
        }
        for name in (name for name in fine if not fine[name]):
            raise ValueError(f"an input contract cannot have the {name} {getattr(self, name)!r}.")

    @property
    def values(self) -> str:
        """The values fed, as text for messages."""
        if not self.mean:
            return "[{:g}, {:g}]".format(*self.value_range)
        if len({*self.mean}) == len({*self.std}) == 1:
            return f"(x - {self.mean[0]:g}) / {self.std[0]:g}"
        mean, std = (", ".join(f"{x:.4g}" for x in xs) for xs in (self.mean, self.std))
        return f"(x - [{mean}]) / [{std}]"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_numbers(values: object, count: int) -> bool:
    """Returns whether `values` is a tuple of so many finite numbers."""
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(isinstance(each, float | int) and math.isfinite(each) for each in values)
    )


RGB_CONTRACT = InputContract()
FLOW_CONTRACT = InputContract(channels="flow", channel_order="xy")

# Architectures with the contract of the original release.
RELEASED = ("inception_i3d", "inception_i3d_global")

# ImageNet's statistics in 0..255, as mmaction2 and GluonCV use them.
_IMAGENET = InputContract(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
# Kinetics', of facebookresearch/VMZ; torchvision has them rounded.
_KINETICS = InputContract(mean=(110.201, 100.64, 95.9966), std=(58.1489, 56.4701, 55.3324))
# facebookresearch/video-nonlocal-net, which PySlowFast and PyTorchVideo keep.
_NON_LOCAL = InputContract(mean=(114.75,) * 3, std=(57.375,) * 3)

# Frames and stride. The affine nets were fine-tuned from these with longer clips.
_TIMINGS = {"8x8": (8, 8), "32x2": (32, 2)}
_AFFINE_TIMINGS = {"8x8": (32, 4), "32x2": (128, 1)}


def of_stream(architecture: str, stream: str) -> InputContract:
    """Returns the contract of a stream: `usual`, or flow in [-1, 1] of the same size."""
    contract = usual(architecture)
    if stream != "flow":
        return contract
    return dataclasses.replace(
        contract, channels="flow", channel_order="xy", value_range=(-1.0, 1.0), mean=(), std=()
    )


def usual(architecture: str) -> InputContract:
    """Returns the RGB contract of an architecture's published weights; `ValueError` if unknown.

    The InceptionI3D contract is the paper's. The I3D ResNets see videos at their own rate, which is
    30 frames per second for most of Kinetics; so do R(2+1)D nets, except torchvision's, at 15.
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
    return dataclasses.replace(
        _KINETICS,
        frames=16 if architecture.startswith("r2plus1d_18") else 32,
        fps=30.0 if architecture.endswith("_vmz") else 15.0,
        short_side=128,
        crop=112,
    )
