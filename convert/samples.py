"""The published samples: what they show, and where they come from."""

import dataclasses

from common.io import git_blob, listing
from convert.download import Asset, PackageFile, Url
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
        ValueError: There is no such sample, or it has neither.
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
