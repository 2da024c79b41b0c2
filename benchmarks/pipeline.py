"""Measures the stages from a raw video to the logits of two streams.

    I3D_DATA=FOLDER python benchmarks/pipeline.py [--rounds=3] [--results=FILE.md]

The usual way: OpenCV's frames, its TV-L1 with default parameters on all cores, and the usual port
(see `benchmarks/network.py`) for both streams. Ours: the project's decoding, its flow engine on all
cores or on the GPU, and optimised models. They take turns in one process, after an uncounted call
of the networks. Weights are untrained. One video is generated; the other is from I3D_DATA, if it is
there.
"""

import dataclasses
import functools
import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import measuring
import numpy as np
from comparing import torch_device
from numpy.typing import NDArray

from common import arch, command, video
from common.evaluation import fuse
from common.flow import encoding
from common.models import PRECISIONS
from common.preprocessing import crops, frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.settings import setting
from common.video import video_clips

SAMPLE = "apply_eye_makeup.avi"  # UCF101's, 320x240
WIDTH, HEIGHT, FPS = 340, 256, 25  # of the generated video

Frames = list[NDArray[np.uint8]]  # RGB
Clip = NDArray[np.float32]  # [T, crop, crop, C] in [-1, 1]
Network = Callable[[Clip], NDArray[np.float32]]  # to logits
STAGES = ("decode and resize", "flow", "RGB network", "flow network", "fuse")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Measures the stages from a raw video to the logits of two streams."""

    frames: int = setting("Frames of each video.", 64, minimum=16)
    precisions: tuple[str, ...] = setting(
        "Precisions of ours.", ("float32", "bfloat16"), choices=PRECISIONS
    )
    rounds: int = setting("Turns of each way.", 3, minimum=1)
    device: str = setting("Where to compute.", "cpu", choices=("cpu", "gpu"))
    results: Path | None = setting("File for the tables.", None)


class Way(NamedTuple):
    """A way from a video to logits: functions, and whether freed memory is kept (`Work`)."""

    decode: Callable[[Path, int], tuple[Clip, Frames]]  # the RGB clip, and frames for `flow`
    flow: Callable[[Frames], Clip]
    networks: Mapping[str, Network]  # by stream
    kept: bool

    def run(self, path: Path, count: int) -> tuple[dict[str, float], NDArray[np.float64]]:
        """Returns the seconds of each stage, and the fused logits."""
        marks = [time.perf_counter()]

        def mark(value: Any) -> Any:
            marks.append(time.perf_counter())
            return value

        rgb, decoded = mark(self.decode(path, count))
        moving = mark(self.flow(decoded))
        logits = [mark(self.networks["rgb"](rgb)), mark(self.networks["flow"](moving))]
        fused = mark(fuse.fuse(logits))
        return dict(zip(STAGES, np.diff(marks).tolist(), strict=True)), fused


def ways(device: str, precisions: Sequence[str]) -> dict[str, Way]:
    """OpenCV and the usual port, and the path of the project's commands in each precision."""
    flow = functools.partial(_our_flow, engine="auto" if device == "gpu" else "numba")
    found = {"the usual way": Way(_capture, _opencv_flow, _networks(device, None), kept=False)}
    for precision in precisions:
        found[f"ours, {precision}"] = Way(_read, flow, _networks(device, precision), kept=True)
    return found


def measure(name: str, path: Path, ways: Mapping[str, Way], settings: Settings) -> list[str]:
    """Returns the lines of a video's table, each way after an uncounted run."""
    seconds: dict[str, dict[str, list[float]]] = {way: defaultdict(list) for way in ways}
    logits: dict[str, NDArray[np.float64]] = {}
    for _ in range(settings.rounds):
        for label, way in ways.items():
            measuring.allocate(way.kept)
            for stream, channels in (("rgb", 3), ("flow", 2)):  # caches, and what compiles
                shape = (settings.frames, RGB_CONTRACT.crop, RGB_CONTRACT.crop, channels)
                way.networks[stream](np.zeros(shape, np.float32))
            if way.kept and label not in logits:
                way.flow(way.decode(path, settings.frames)[1])
            taken, logits[label] = way.run(path, settings.frames)
            for stage, value in taken.items():
                seconds[label][stage].append(value)
    usual, *others = logits.values()
    errors = ["0", *(f"{measuring.relative_error(each, usual):.0e}" for each in others)]
    info = video.measure(path)
    title = f"{name}, {settings.frames} frames of {info.width}x{info.height}:"
    return [title, "", *table(seconds, settings.frames - 1, errors)]


def table(
    seconds: Mapping[str, Mapping[str, list[float]]], pairs: int, errors: list[str]
) -> list[str]:
    """Returns the table of a video of so many `pairs` of frames.

    `seconds` has those of each round by way, the usual one first, and stage; `errors` has the
    difference of each way's logits from the first's.
    """
    ways = list(seconds.values())
    totals = [median(map(sum, zip(*way.values(), strict=True))) for way in ways]
    rows = [
        [f"{stage}, s", *(measuring.number(median(way[stage])) for way in ways)]
        for stage in ways[0]
    ]
    rows.append(["total, s", *map(measuring.number, totals)])
    rows.append(["times the usual way", *(f"{totals[0] / total:.2f}" for total in totals)])
    speeds = (measuring.number(pairs / median(way["flow"])) for way in ways)
    rows.append(["flow, pairs a second", *speeds])
    rows.append(["difference of the logits", *errors])
    return measuring.table(["", *seconds], rows)


def main(settings: Settings) -> None:
    measuring.begin(settings.device)
    note = f"Medians of {settings.rounds} turns."
    report = measuring.Report(settings.results, settings.device, note)
    measured = ways(settings.device, settings.precisions)
    with tempfile.TemporaryDirectory() as folder:
        generated = Path(folder, "generated.mp4")
        measuring.write_video(generated, WIDTH, HEIGHT, FPS, settings.frames)
        for name, path in {"a generated video": generated, **measuring.samples(SAMPLE)}.items():
            report.add(*measure(name, path, measured, settings))


def _capture(path: Path, count: int) -> tuple[Clip, Frames]:
    reader, pictures = cv2.VideoCapture(str(path)), []
    while len(pictures) < count:
        found, picture = reader.read()
        if not found:
            raise ValueError(f"{path}: expected {count} frames, found {len(pictures)}.")
        height, width = crops.resized_size(*picture.shape[:2], RGB_CONTRACT.short_side)
        pictures.append(cv2.cvtColor(cv2.resize(picture, (width, height)), cv2.COLOR_BGR2RGB))
    cropped = crops.center_crop(np.stack(pictures), RGB_CONTRACT.crop)
    return cropped.astype(np.float32) * np.float32(2 / 255) - 1, pictures


def _opencv_flow(pictures: Frames) -> Clip:
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    algorithm = cv2.optflow.DualTVL1OpticalFlow_create()
    found = [algorithm.calc(*pair, None) for pair in itertools.pairwise(greys)]
    cropped = crops.center_crop(np.stack([*found, found[-1]]), FLOW_CONTRACT.crop)
    return np.clip(cropped / encoding.BOUND, -1, 1)


def _read(path: Path, count: int) -> tuple[Clip, Frames]:
    pictures = list(video.read_frames(path, max_frames=count))
    return np.stack(list(video_clips.rgb_of_frames(pictures, RGB_CONTRACT))), pictures


def _our_flow(pictures: Frames, engine: str) -> Clip:
    found = video_clips.flow_of_frames(pictures, FLOW_CONTRACT, engine)
    clip = [frames.to_contract(each, FLOW_CONTRACT) for each in found]
    return np.stack([*clip, clip[-1]])


def _networks(device_name: str, precision: str | None) -> dict[str, Network]:
    """Returns InceptionI3D for both streams: optimised, or the usual port without a precision."""
    import torch

    import i3d_torch

    device = torch_device(device_name)

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
    command.start(main, Settings)
