"""The published samples, a row each, and the clips made of them."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from common import assets, frames
from common.assets import Asset
from common.checkpoints import RELEASE
from common.contracts import RGB_CONTRACT, InputContract
from common.digests import git_blob
from common.errors import listing
from common.sources import PackageFile, Url


@dataclasses.dataclass(frozen=True)
class Sample:
    """A published sample.

    Attributes:
        name: What `--sample` takes.
        files: By stream: a video, or an array [1, T, H, W, C] float32 in [-1, 1].
        note: What it shows, where it comes from, its licence.
    """

    name: str
    files: dict[str, Asset]
    note: str


def _cricket(stream: str, blob: str) -> Asset:
    file_name = f"v_CricketShot_g04_c01_{stream}.npy"
    source = Url(RELEASE + file_name)
    return Asset(
        f"{stream} of the sample cricket", f"samples/{file_name}", git_blob(blob), (source,)
    )


SAMPLES: dict[str, Sample] = {
    "cricket": Sample(
        "cricket",
        {
            "rgb": _cricket("rgb", "d756c5020a6e0fb56a99b210e32f5865da712bba"),
            "flow": _cricket("flow", "ee00e78e6f380caa5463de878d7c85ad7a01e668"),
        },
        "v_CricketShot_g04_c01 of UCF101, 79 frames, as DeepMind's release has it (Apache-2.0)",
    ),
    "backflip": Sample(
        "backflip",
        {
            "rgb": Asset(
                "the sample backflip",
                "samples/backflip.mp4",
                git_blob("aae31e206044224e2e174227e34a7a44dcd4f08f"),
                (
                    PackageFile(
                        "sports2d==0.8.34",
                        "733b6db70742636ae9c35d870c22bd416582f579abd5881bee93a14bb0e2655d",
                        "Sports2D/Demo/demo.mp4",
                    ),
                ),
            ),
        },
        "the demo video of Sports2D 0.8.34, a person doing a backflip (BSD-3-Clause)",
    ),
}


def get(name: str) -> Sample:
    """The row of a sample; raises `ValueError` for another name."""
    if name not in SAMPLES:
        raise ValueError(f"no such sample. Expected one of {listing(SAMPLES)}. Received: {name!r}.")
    return SAMPLES[name]


def asset(name: str, stream: str) -> Asset:
    """The file of a sample's stream; raises `ValueError` where there is none."""
    sample = get(name)
    if stream not in sample.files:
        raise ValueError(
            f"the sample {name} has no {stream}, only {listing(sample.files)}. "
            "Use --eval_type=rgb, or another --sample."
        )
    return sample.files[stream]


def clip(
    name: str,
    stream: str,
    contract: InputContract = RGB_CONTRACT,
    max_frames: int | None = frames.MAX_FRAMES,
) -> NDArray[np.float32]:
    """A sample as one clip, fetched if need be.

    Args:
        name: The sample.
        stream: "rgb" or "flow".
        contract: How a video becomes a clip; an array is taken as it is.
        max_frames: Takes so many frames from the beginning; None takes all.

    Returns:
        [1, T, H, W, C] float32 in [-1, 1]; C is 3 for RGB, 2 for flow (x, y).

    Raises:
        ValueError: No such sample, no such stream of it, or not the published file.
        FileNotFoundError: No source has the file (`AssetError`).
    """
    path = assets.fetch(asset(name, stream))
    if path.suffix != ".npy":
        return frames.clip_from_video(path, contract, max_frames)
    if contract.mean or contract.value_range != RGB_CONTRACT.value_range:
        raise ValueError(
            f"the sample {name} is an array in [-1, 1], and the weights expect values of"
            f" {contract.values}. Use --sample=backflip or --video."
        )
    array = np.asarray(np.load(path, allow_pickle=False), np.float32)
    if max_frames is not None and max_frames < frames.MIN_FRAMES:
        raise ValueError(
            f"--max_frames must be at least {frames.MIN_FRAMES}, what the network needs. "
            f"Received: {max_frames}."
        )
    return array[:, :max_frames]
