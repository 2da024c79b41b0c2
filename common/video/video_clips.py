"""A video as a clip for a network: frames or flow, resampled, resized, cropped, in range."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import flow, hardware
from common.flow import TVL1Params
from common.preprocessing import crops, frames
from common.preprocessing.contracts import CHANNELS, RGB_CONTRACT, InputContract
from common.preprocessing.frames import resize_picture_short_side
from common.video import Video, frame_files

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

MIN_FRAMES = 9  # 8 frames leave one time step, and InceptionI3D's last pool needs two
MAX_FRAMES = 250  # what the paper tests on: ten seconds at 25 frames a second

_DEFAULTS = TVL1Params()


def clip_from_video(
    path: str | os.PathLike[str],
    contract: InputContract = RGB_CONTRACT,
    max_frames: int | None = MAX_FRAMES,
    min_frames: int = MIN_FRAMES,
    flow_engine: str = "auto",
) -> Floats:
    """Reads a video as one clip, frame by frame, so that only the clip itself is in memory.

    `path` may be a .npy [1, T, H, W, C] in [-1, 1], which is taken as it is. `max_frames` are taken
    from the beginning, or all; the network needs at least `min_frames`.

    Returns [1, T, crop, crop, C] float32 in the contract's range; the last flow is repeated. Raises
    `FileNotFoundError`, and `ValueError` for no video, no such array, or too few frames.
    """
    path = Path(path)
    if path.suffix == ".npy":
        clip, at = _from_array(path, contract, max_frames), ""
    else:
        rate = contract.fps / contract.stride
        at = f" at {rate:g} frames a second"
        pictures = iter(Video(path, rate, max_frames=max_frames))
        clip = _from_pictures(pictures, contract, flow_engine)
    if len(clip) < min_frames:
        got = f"{len(clip)}{at}. Choose a longer video or a larger --max_frames"
        raise ValueError(f"{path}: too short. Expected {min_frames} frames or more, got {got}.")
    return clip[None]


def source(path: str | os.PathLike[str], stream: str) -> Path:
    """Returns the file of a stream: of NAME_rgb.npy or NAME_flow.npy its own, else `path`."""
    return Path(re.sub(r"_(rgb|flow)\.npy$", f"_{stream}.npy", os.fspath(path)))


def rgb_of_frames(pictures: Iterable[Picture], contract: InputContract) -> Iterator[Floats]:
    """Yields [crop, crop, 3], float32 in the contract's range, for each frame [H, W, 3].

    Resized pixels are rounded to whole levels, as those of prepared frames are.
    """
    for picture in pictures:
        resized = resize_picture_short_side(picture, contract.short_side)
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

    It is computed on whole frames, resized to the short side first, and cropped afterwards. None
    `threads` work on a pair a core at a time. For the rest see `flow.flows`.
    """
    small = (resize_picture_short_side(each, contract.short_side) for each in pictures)
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
        expected = f"and the weights expect {contract.values}. Give the video itself"
        raise ValueError(f"{path}: an array holds values in [-1, 1], {expected}.")
    array = frame_files.ArrayClip(path, CHANNELS[contract.channels])
    return np.stack([*array.values(range(len(array))[:max_frames])])
