"""Classifies a sample or a video in PyTorch; prints what DeepMind's release prints.

    python -m i3d_torch.evaluate_sample
    python -m i3d_torch.evaluate_sample --eval_type=rgb600
    python -m i3d_torch.evaluate_sample --eval_type=rgb --imagenet_pretrained=false --video=my.mp4

--checkpoint takes a published name or a file in any format, for one stream. --output writes the
result as JSON, with which weights, clip and versions it was made.
"""

from collections.abc import Sequence

import numpy as np
import torch
from absl import flags

import i3d_torch
from common import command
from common.flags import THREADS
from common.predict import evaluate_sample
from i3d_torch import devices

flags.adopt_module_key_flags(evaluate_sample)


def predict(checkpoint: str, clip: np.ndarray, architecture: str | None = None) -> np.ndarray:
    """Logits [num_classes] of one clip [1, T, H, W, C] in the checkpoint's value range."""
    model = i3d_torch.optimize(i3d_torch.load(checkpoint, architecture), endpoints=())
    # Channels stay the last axis of the memory, as the model wants them; torch wants to own it.
    clips = torch.from_numpy(np.require(clip, requirements=["C", "W"])).movedim(-1, 1)
    with torch.inference_mode():
        logits, _ = model(clips)
    return logits[0].numpy()


def main(argv: Sequence[str]) -> None:
    command.no_arguments(argv)
    devices.use_threads(THREADS.value)
    evaluate_sample.main(predict, "i3d_torch")


if __name__ == "__main__":
    command.run(main)
