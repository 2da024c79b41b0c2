"""The published samples, a row each, and the clips made of them."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from common import download
from common.download import Asset, PackageFile, Url
from common.io import git_blob, listing
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT, InputContract
from common.video import video_clips
from convert.published import RELEASE


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
    """The file of a sample's stream, or the video that flow is computed from.

    Raises:
        ValueError: There is neither.
    """
    sample = get(name)
    if stream in sample.files:
        return sample.files[stream]
    video = sample.files.get("rgb")
    if video and not video.relative_path.endswith(".npy"):
        return video
    raise ValueError(
        f"the sample {name} has no {stream}, only {listing(sample.files)}. "
        "Use --eval_type=rgb, or another --sample."
    )


def clip(
    name: str,
    stream: str,
    contract: InputContract | None = None,
    max_frames: int | None = video_clips.MAX_FRAMES,
    flow_engine: str = "auto",
) -> NDArray[np.float32]:
    """A sample as one clip, fetched if need be.

    Args:
        name: The sample.
        stream: "rgb" or "flow".
        contract: How a video becomes a clip; None is InceptionI3D's for the stream.
        max_frames: Takes so many frames from the beginning; None takes all.
        flow_engine: What computes the flow of a video: see `flow.tvl1`.

    Returns:
        [1, T, H, W, C] float32 in [-1, 1]; C is 3 for RGB, 2 for flow (x, y).

    Raises:
        ValueError: No such sample, no such stream of it, or not the published file.
        FileNotFoundError: No source has the file (`AssetError`).
    """
    (path,) = download.fetch(asset(name, stream))
    contract = contract or (FLOW_CONTRACT if stream == "flow" else RGB_CONTRACT)
    return video_clips.clip_from_video(path, contract, max_frames, flow_engine=flow_engine)
