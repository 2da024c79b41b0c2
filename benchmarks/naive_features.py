"""Features as a first script makes them: all frames in memory, one window after the other.

    python benchmarks/naive_features.py CHECKPOINT VIDEO OUTPUT.npy WINDOW SHORT_SIDE CROP

What `benchmarks/features.py` compares `--mode=segment` with.
"""

import sys

import cv2
import numpy as np
import torch

from common import models
from common.preprocessing import crops
from i3d_torch import preprocessing, weights
from i3d_torch.model import VideoModel


def read(video: str) -> np.ndarray:
    """All frames of a video, [T, H, W, 3] uint8 RGB."""
    capture = cv2.VideoCapture(video)
    count, height, width = (
        int(capture.get(what))
        for what in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    )
    frames = np.empty((count, height, width, 3), np.uint8)
    for k in range(count):
        found, frame = capture.read()
        if not found:
            raise ValueError(f"{video}: frame {k} of {count} cannot be read.")
        frames[k] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    return frames


@torch.no_grad()
def main(checkpoint: str, video: str, output: str, window: int, short_side: int, crop: int) -> None:
    loaded = models.load(checkpoint, "rgb")
    model = VideoModel(loaded.net).eval()
    weights.assign(model, loaded.arrays)
    endpoint = loaded.net.head.features
    frames, rows = read(video), []
    height, width = crops.resized_size(*frames.shape[1:3], short_side)
    for start in range(0, len(frames) - window + 1, window):
        small = [cv2.resize(frame, (width, height)) for frame in frames[start : start + window]]
        clip = crops.center_crop(np.stack(small), crop)
        x = torch.tensor(clip[None]).movedim(-1, 1)
        _, endpoints = model(preprocessing.to_contract(x, loaded.contract), final_endpoint=endpoint)
        rows.append(endpoints[endpoint].mean(dim=(2, 3, 4))[0].numpy())
    np.save(output, np.stack(rows))


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
