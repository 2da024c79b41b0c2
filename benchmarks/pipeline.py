"""Measures the way from a raw video to the logits of two streams, stage by stage.

    I3D_DATA=FOLDER python benchmarks/pipeline.py [--rounds=3] [--results=FILE.json]

The usual way: OpenCV's frames and its TV-L1 with default parameters on all cores, and the usual
port (see `benchmarks/forms.py`) for both streams. Ours: the project's decoding, its flow engine on
all cores or on the GPU, and optimised models. They take turns in one process, after a call of the
networks that does not count. Weights are untrained. One video is generated, the other is from
I3D_DATA, where it is there.
"""

import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import measuring
import numpy as np
import report
import videos
from absl import app, flags
from comparing import torch_device
from numpy.typing import NDArray

from common import arch, assets, video
from common.evaluation import fusion
from common.flow import encoding
from common.preprocessing import crops, frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.training.recipes import PRECISIONS
from common.video import video_clips

COUNT = flags.DEFINE_integer("frames", 64, "Of each video.", lower_bound=16)
PRECISION = flags.DEFINE_list("precisions", ["float32", "bfloat16"], "Of ours.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns of each.", lower_bound=1)
DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "Where to compute.")
RESULTS = flags.DEFINE_string("results", None, "A file for the numbers, JSON.")

SAMPLE = "apply_eye_makeup.avi"  # UCF101's, 320x240
WIDTH, HEIGHT, FPS = 340, 256, 25  # of the generated one, which has the size that flow is found at

Clip = NDArray[np.float32]  # [T, crop, crop, C] in [-1, 1]
Network = Callable[[Clip], NDArray[np.float32]]


class Way(NamedTuple):
    """How a video becomes logits.

    Attributes:
        decode: Reads frames; returns the RGB clip, and what `flow` needs.
        flow: Returns the flow clip.
        networks: Of the two streams.
        kept: See `measuring.Work`.
    """

    decode: Callable[[Path], tuple[Clip, Any]]
    flow: Callable[[Any], Clip]
    networks: Mapping[str, Network]
    kept: bool

    def run(self, path: Path) -> tuple[dict[str, float], NDArray[np.float64]]:
        """Seconds of each stage, and the fused logits."""
        marks = [time.perf_counter()]

        def mark(value: Any) -> Any:
            marks.append(time.perf_counter())
            return value

        rgb, decoded = mark(self.decode(path))
        moving = mark(self.flow(decoded))
        logits = [mark(self.networks["rgb"](rgb)), mark(self.networks["flow"](moving))]
        fused = mark(fusion.fuse(logits))
        return dict(zip(STAGES, np.diff(marks).tolist(), strict=True)), fused


STAGES = ("decode and resize", "flow", "RGB network", "flow network", "fuse")


def usual() -> Way:
    """OpenCV and the usual port."""
    return Way(_capture, _opencv_flow, _networks(None), kept=False)


def ours(precision: str) -> Way:
    """What the project's commands do."""
    return Way(_read, _our_flow, _networks(precision), kept=True)


def measure(name: str, path: Path, ways: Mapping[str, Way]) -> dict[str, Any]:
    """The numbers of a video, as JSON has them."""
    seconds: dict[str, dict[str, list[float]]] = {way: defaultdict(list) for way in ways}
    logits: dict[str, NDArray[np.float64]] = {}
    for k in range(ROUNDS.value):
        for label, way in ways.items():
            measuring.allocate(way.kept)
            _warm(way, path if k == 0 and way.kept else None)
            taken, logits[label] = way.run(path)
            for stage, value in taken.items():
                seconds[label][stage].append(value)
    first = next(iter(ways))
    found = video.info(path)
    rows = [
        {
            "name": label,
            "seconds": seconds[label],
            "error": measuring.relative_error(logits[label], logits[first]),
        }
        for label in ways
    ]
    size = {"width": found.width, "height": found.height, "frames": COUNT.value}
    return {"name": name, **size, "ways": rows}


def main(argv: Sequence[str]) -> None:
    del argv
    measuring.check_names(PRECISION, PRECISIONS)
    measuring.begin(DEVICE.value)
    result = {"machine": measuring.machine(DEVICE.value), "rounds": ROUNDS.value, "videos": []}
    print(report.machine(result))
    ways = {"the usual way": usual()}
    ways |= {f"ours, {precision}": ours(precision) for precision in PRECISION.value}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in _sources(Path(folder)).items():
            result["videos"].append(measure(name, path, ways))
            print("\n".join(["", *report.pipeline(result["videos"][-1])]), flush=True)
            measuring.write(RESULTS.value, result)


def _sources(folder: Path) -> dict[str, Path]:
    generated = folder / "generated.mp4"
    videos.write(generated, WIDTH, HEIGHT, FPS, COUNT.value)
    found = {"a generated video": generated}
    for root in assets.local_folders():
        if (path := root / "samples" / SAMPLE).exists():
            found.setdefault(SAMPLE, path)
    return found


def _warm(way: Way, path: Path | None) -> None:
    """Calls the networks, and of a path the rest too: compilers, caches, memory."""
    size = RGB_CONTRACT.crop
    for stream, channels in (("rgb", 3), ("flow", 2)):
        way.networks[stream](np.zeros((COUNT.value, size, size, channels), np.float32))
    if path:
        way.flow(way.decode(path)[1])


def _capture(path: Path) -> tuple[Clip, list[NDArray[np.uint8]]]:
    reader, pictures = cv2.VideoCapture(str(path)), []
    while len(pictures) < COUNT.value:
        found, picture = reader.read()
        if not found:
            raise ValueError(f"{path}: expected {COUNT.value} frames, found {len(pictures)}.")
        height, width = crops.resized_size(*picture.shape[:2], RGB_CONTRACT.short_side)
        pictures.append(cv2.cvtColor(cv2.resize(picture, (width, height)), cv2.COLOR_BGR2RGB))
    cropped = crops.center_crop(np.stack(pictures), RGB_CONTRACT.crop)
    return cropped.astype(np.float32) * np.float32(2 / 255) - 1, pictures


def _opencv_flow(pictures: Sequence[NDArray[np.uint8]]) -> Clip:
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    algorithm = cv2.optflow.DualTVL1OpticalFlow_create()
    found = [algorithm.calc(*pair, None) for pair in itertools.pairwise(greys)]
    cropped = crops.center_crop(np.stack([*found, found[-1]]), FLOW_CONTRACT.crop)
    return np.clip(cropped / encoding.BOUND, -1, 1)


def _read(path: Path) -> tuple[Clip, list[NDArray[np.uint8]]]:
    pictures = list(video.read_frames(path, max_frames=COUNT.value))
    return np.stack(list(video_clips.rgb_of_frames(pictures, RGB_CONTRACT))), pictures


def _our_flow(pictures: Iterable[NDArray[np.uint8]]) -> Clip:
    engine = "auto" if DEVICE.value == "gpu" else "numba"
    found = video_clips.flow_of_frames(pictures, FLOW_CONTRACT, engine)
    clip = [frames.to_contract(each, FLOW_CONTRACT) for each in found]
    return np.stack([*clip, clip[-1]])


def _networks(precision: str | None) -> dict[str, Network]:
    """InceptionI3D of both streams; None is the usual port."""
    import torch

    import i3d_torch

    device = torch_device(DEVICE.value)

    def network(channels: int) -> Network:
        net = arch.inception_i3d(400, channels)
        model = i3d_torch.VideoModel(net).eval()
        i3d_torch.assign(model, arch.initial_arrays(net))
        model.to(device)
        if precision:
            model = i3d_torch.optimize(model, precision)

        def run(clip: Clip) -> NDArray[np.float32]:
            x = torch.tensor(clip[None], device=device).movedim(-1, 1).contiguous()
            with torch.no_grad():
                return model(x)[0].float().cpu().numpy()

        return run

    return {"rgb": network(3), "flow": network(2)}


if __name__ == "__main__":
    app.run(main)
