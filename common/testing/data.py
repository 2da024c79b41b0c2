"""A small data set of frames and flow for tests of training: textures that say their class."""

from pathlib import Path

import cv2
import numpy as np

from common.annotations import Annotations, Record, annotation_files
from common.flow.stamp import FlowStamp
from common.video import frame_files
from common.video.clip_reader import Source

CLASSES = ("dark", "light", "striped")
SIZE = (32, 40)
STAMP = FlowStamp("numba", {"warps": 5})


def put(
    folder: Path, training: int = 6, validation: int = 3, frames: int = 12
) -> tuple[Path, Source]:
    """Writes frames, flow and annotations; returns the annotations' file and the source."""
    records = []
    for subset, count in (("training", training), ("validation", validation)):
        for k in range(count):
            label = k % len(CLASSES)
            name = f"{CLASSES[label]}/{subset}_{k}"
            records.append(Record(name, f"{name}.avi", subset, (label,)))
            frame_files.write_rgb(
                folder / "rgb" / name, name, _pictures(label, frames, len(records))
            )
            targets = [folder / f"flow/{name}_flow.npy", folder / f"flow/{name}_flow.json"]
            frame_files.write_flow(targets, name, _flow(label, frames, len(records)), STAMP, "npy")
    path = folder / "annotations.json"
    annotation_files.write(path, Annotations(CLASSES, tuple(records), "own"))
    return path, Source(folder / "rgb", folder / "flow")


def _pictures(label: int, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 60, (count, 4, 5, 3), np.uint8) + np.uint8([20, 170, 90][label])
    pictures = np.stack([cv2.resize(each, SIZE[::-1]) for each in coarse])
    if label == 2:
        pictures[:, ::4] = 230
    return pictures


def _flow(label: int, count: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.3, (count, *SIZE, 2))
    return (noise + [(-4, 0), (4, 0), (0, 4)][label]).astype(np.float32)
