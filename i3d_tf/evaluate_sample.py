"""Classifies a sample or a video in TensorFlow; prints what DeepMind's release prints.

    python -m i3d_tf.evaluate_sample
    python -m i3d_tf.evaluate_sample --eval_type=rgb600
    python -m i3d_tf.evaluate_sample --eval_type=rgb --imagenet_pretrained=false --video=my.mp4

--checkpoint takes a published name or a file in any format, for one stream. --output writes the
result as JSON, with which weights, clip and versions it was made.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import flags

import i3d_tf
from common import command
from common.flags import THREADS
from common.predict import evaluate_sample
from i3d_tf import devices

flags.adopt_module_key_flags(evaluate_sample)


def predict(checkpoint: str, clip: np.ndarray, architecture: str | None = None) -> np.ndarray:
    """Logits [num_classes] of one clip [1, T, H, W, C] in the checkpoint's value range."""
    model = i3d_tf.optimize(i3d_tf.load(checkpoint, architecture), endpoints=())
    logits, _ = model(tf.convert_to_tensor(clip))
    return logits[0].numpy()


def main(argv: Sequence[str]) -> None:
    command.no_arguments(argv)
    devices.use_threads(THREADS.value)
    evaluate_sample.main(predict, "i3d_tf")


if __name__ == "__main__":
    command.run(main)
