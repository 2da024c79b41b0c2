"""How features are extracted: everything that changes them but the weights."""

import dataclasses

from common import arch
from common.io import listing
from common.preprocessing.contracts import InputContract

MODES = ("segment", "dense", "framewise")
PADS = ("frames", "rows", "none")
SHORTS = ("loop", "pad", "error", "skip")

CHUNK = 384  # frames; a quarter of them are seen twice, in 1.3 GiB

CROPS = {"center": 1, "three": 3, "ten": 10}
"""How many crops are taken, by the name of their choice."""


@dataclasses.dataclass(frozen=True)
class Extraction:
    """How features are extracted.

    What is None is left open, and `filled` takes it from the weights.

    Attributes:
        mode: "segment": a row for each window, one every `stride` frames, and what is left at the
            end is dropped; "dense": a row for each time step of the convolutional map over all of
            the video; "framewise": a row for a window around every `frequency`-th frame.
        window: Frames of a window.
        rate: A window takes every so-many-th frame.
        stride: Frames from one window of "segment" to the next; as long as a window, when open.
        frequency: Frames from one row of "framewise" to the next.
        pad: What "framewise" does where a window leaves the video: "frames" repeats the first and
            the last frame; "rows" repeats the first and the last row that fits; "none" has no row
            there.
        short: What becomes of a video that is too short for one row: "loop" begins it again,
            "pad" repeats its last frame, "error" fails it, "skip" gives no rows.
        crops: One of `CROPS`: the middle; begin, middle and end of the longer side; or four corners
            and the middle, and each of them mirrored (`crops.ten_crop`).
        average_crops: Rows are means over the crops; else crops are an axis.
        endpoint: What is taken, averaged over its height and width (and, but for "dense", over its
            time): by default the pooled features before the classifier.
        fps: Frames a second that a video is taken at; 0 is every frame there is.
        resize: The shorter side is resized to it, pixels; 0 keeps the size.
        least_side: Frames whose shorter side is below it are enlarged to it, and others are kept;
            0 does as `resize` says.
        size: Width and height that frames are resized to, whatever their shape; empty does as
            `resize` says.
        crop: Side of a crop, pixels.
        values: What RGB 0 to 255 is mapped onto, in place of what the weights expect; empty for
            theirs.
        margin: Share of a box that is added on each of its sides.
        boxes: Where an individual is cut out: "frame" where it is on each frame, "union" where it
            is on any.
        min_frames: Tracklets of fewer frames are left out.
        interpolate: Frames that a tracklet lacks get boxes between their neighbours'; else that is
            an error.
        chunk: Frames that "dense" has in memory at most.
    """

    mode: str = "segment"
    window: int | None = None
    rate: int | None = None
    stride: int | None = None
    frequency: int = 1
    pad: str = "frames"
    short: str = "loop"
    crops: str = "center"
    average_crops: bool = False
    endpoint: str | None = None
    fps: float | None = None
    resize: int | None = None
    least_side: int = 0
    size: tuple[int, int] | tuple[()] = ()
    crop: int | None = None
    values: tuple[float, float] | tuple[()] = ()
    margin: float = 0.0
    boxes: str = "frame"
    min_frames: int = 1
    interpolate: bool = False
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        for field, known in (
            ("mode", MODES), ("pad", PADS), ("short", SHORTS), ("crops", CROPS),
            ("boxes", ("frame", "union")),
        ):  # fmt: skip
            if getattr(self, field) not in known:
                raise ValueError(
                    f"{field} must be one of {listing(known)}. Received: {getattr(self, field)!r}."
                )
        for field, least in (
            ("window", 1), ("rate", 1), ("stride", 1), ("frequency", 1), ("fps", 0), ("resize", 0),
            ("least_side", 0), ("crop", 1), ("margin", 0), ("min_frames", 1), ("chunk", 1),
        ):  # fmt: skip
            value = getattr(self, field)
            if value is not None and not value >= least:
                raise ValueError(f"{field} must be at least {least}. Received: {value}.")
        if self.size and (len(self.size) != 2 or min(self.size) < 2):
            raise ValueError(f"size must be a width and a height. Received: {self.size}.")
        if self.values and (len(self.values) != 2 or not self.values[0] < self.values[1]):
            raise ValueError(f"values must be a low and a high number. Received: {self.values}.")

    @property
    def span(self) -> int:
        """Frames from the first of a window to its last."""
        return ((self.window or 1) - 1) * self.step + 1

    @property
    def step(self) -> int:
        """Frames from one of a window to its next."""
        return self.rate or 1

    @property
    def hop(self) -> int:
        """Frames from one window of "segment" to the next."""
        return self.stride or self.span


def rows_endpoint(net: arch.Network, extraction: Extraction) -> str:
    """The endpoint that is taken.

    The pooled features; where the head pools all time steps into one, "dense" takes the map before
    it.

    Raises:
        ValueError: There is no such endpoint.
    """
    arch.check_endpoint(net, extraction.endpoint)
    if extraction.endpoint:
        return extraction.endpoint
    if extraction.mode == "dense" and net.head.pool is None:
        return net.nodes[-2].name
    return net.head.features


def filled(extraction: Extraction, contract: InputContract, frames: int) -> Extraction:
    """The settings with all that is open taken from the weights.

    Args:
        extraction: The settings.
        contract: What the weights expect.
        frames: Of a clip that they were trained on.
    """
    window = frames if extraction.window is None else extraction.window
    rate = contract.stride if extraction.rate is None else extraction.rate
    return dataclasses.replace(
        extraction,
        window=window,
        rate=rate,
        stride=(window - 1) * rate + 1 if extraction.stride is None else extraction.stride,
        fps=contract.fps if extraction.fps is None else extraction.fps,
        resize=contract.short_side if extraction.resize is None else extraction.resize,
        crop=contract.crop if extraction.crop is None else extraction.crop,
    )
