"""A video as a clip for a network: frames or flow, resampled, resized, cropped, in range."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import flow, hardware, video
from common.flow import TVL1Params
from common.preprocessing import crops, frames, resizing
from common.preprocessing.contracts import CHANNELS, RGB_CONTRACT, InputContract
from common.video import frame_files

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

MIN_FRAMES = 9  # 8 frames leave one time step, and InceptionI3D's last pool needs two
MAX_FRAMES = 250  # what the paper tests on: ten seconds at 25 frames a second

_DEFAULTS = TVL1Params()


def clip_from_video(
    path: str | os.PathLike[str],
    contract: InputContract | None = None,
    max_frames: int | None = MAX_FRAMES,
    min_frames: int = MIN_FRAMES,
    flow_engine: str = "auto",
) -> Floats:
    """Reads a video as one clip, frame by frame, so that only the clip itself is in memory.

    Args:
        path: The video file; or a .npy with an array [1, T, H, W, C] in [-1, 1], which is taken as
            it is.
        contract: Rate, short side, crop and value range; None is InceptionI3D's RGB stream.
        max_frames: Takes so many frames from the beginning; None takes all.
        min_frames: Frames that the network needs at least.
        flow_engine: Engine that computes flow, if the contract is for flow: see `flow.tvl1`.

    Returns:
        [1, T, crop, crop, C] float32 in the contract's range. C is 3 for RGB and 2 for flow, of
        which there is one for each frame: the last one is repeated.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a video (`VideoError`) or such an array, or has too few frames.
        ImportError: The flow engine needs a package that is not installed.
    """
    path, contract = Path(path), contract or RGB_CONTRACT
    if path.suffix == ".npy":
        clip, at = _from_array(path, contract, max_frames), ""
    else:
        rate = contract.fps / contract.stride
        pictures = video.read_frames(path, rate, max_frames=max_frames)
        at = f" at {rate:g} frames a second"
        try:
            clip = _from_pictures(pictures, contract, flow_engine)
        except flow.TooFewFramesError as error:
            raise ValueError(f"{path}: {error}") from error
    if len(clip) < min_frames:
        limit = "" if max_frames is None else f" and --max_frames={max_frames}"
        limited = max_frames is not None and max_frames < min_frames
        raise ValueError(
            f"{path}: too short. Expected at least {min_frames} frames, got {len(clip)}{at}{limit}."
            f" Choose a longer video{' or a larger --max_frames' if limited else ''}."
        )
    return clip[None]


def source(path: str | os.PathLike[str], stream: str) -> Path:
    """Returns the file of a stream: of NAME_rgb.npy or NAME_flow.npy its own, else `path`."""
    path = Path(path)
    for other in CHANNELS:
        if path.name.endswith(f"_{other}.npy"):
            return path.with_name(f"{path.name.removesuffix(f'{other}.npy')}{stream}.npy")
    return path


def rgb_of_frames(pictures: Iterable[Picture], contract: InputContract) -> Iterator[Floats]:
    """Yields [crop, crop, 3], float32 in the contract's range, for each frame [H, W, 3].

    Resized pixels are rounded to whole levels, as those of prepared frames, in training and in
    evaluation.
    """
    for picture in pictures:
        resized = resizing.resize_short_side(picture, contract.short_side)
        cropped = crops.center_crop(resized[None], contract.crop)
        yield frames.to_contract(cropped, contract)[0]


def flow_of_frames(
    pictures: Iterable[Picture],
    contract: InputContract,
    engine: str = "auto",
    params: TVL1Params = _DEFAULTS,
    threads: int | None = None,
) -> Iterator[Floats]:
    """Yields the flow [crop, crop, 2], float32 in pixels, of each frame [H, W, 3] but the last.

    It is computed on whole frames, resized to the short side first, and cropped afterwards.

    Pictures are uint8 RGB, all of one size. `engine` and `params` are those of `flow.tvl1`; None
    `threads` work on a pair a core at a time. Raises as `flow.flows`.
    """
    small = (resizing.resize_short_side(each, contract.short_side) for each in pictures)
    greys = map(frames.to_grey, small)
    for each in flow.flows(greys, params, engine, threads or hardware.processors()):
        yield np.asarray(crops.center_crop(each[None], contract.crop)[0], np.float32)


def _from_pictures(pictures: Iterator[Picture], contract: InputContract, engine: str) -> Floats:
    kept = rgb_of_frames(pictures, contract)
    if contract.channels == "flow":
        flows = frame_files.last_twice(flow_of_frames(pictures, contract, engine))
        kept = (frames.to_contract(each, contract) for each in flows)
    # One array from the beginning, in place of frames that are copied into one at the end.
    frame = np.dtype((np.float32, (contract.crop, contract.crop, CHANNELS[contract.channels])))
    return np.fromiter(kept, frame)


def _from_array(path: Path, contract: InputContract, max_frames: int | None) -> Floats:
    if contract.mean or contract.value_range != (-1, 1):
        raise ValueError(
            f"{path}: an array holds values in [-1, 1], and the weights expect {contract.values}. "
            "Give the video itself."
        )
    array = frame_files.open_array(path, CHANNELS[contract.channels])[:max_frames]
    return np.stack([*frame_files.array_pictures(array, path, range(len(array)))])
