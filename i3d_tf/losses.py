"""Training losses; the twin of `i3d_torch/losses.py`.

All return float32. Logits of frames are [B, T, num_classes].
"""

import tensorflow as tf

from common.training.optim import interpolation


def classes(logits: tf.Tensor, labels: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Mean cross entropy of clips with one label each.

    Args:
        logits: [B, num_classes].
        labels: [B], int64.
        smoothing: Share of each target that is spread over all classes, 0 to 1.
    """
    count = logits.shape[-1]
    targets = tf.one_hot(labels, count) * (1 - smoothing) + smoothing / count
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


def frames(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Half localisation loss, half classification loss, as piergiaj/pytorch-i3d on Charades.

    Both are mean binary cross entropies: localisation of every frame, classification of the clip,
    the maximum over time of logits against that of targets.

    Args:
        logits: [B, T, num_classes], a row a frame.
        targets: [B, T, num_classes], 0 or 1.
    """
    localisation = _binary_cross_entropy(logits, targets)
    clips = _binary_cross_entropy(tf.reduce_max(logits, axis=1), tf.reduce_max(targets, axis=1))
    return (localisation + clips) / 2


def frame_logits(steps: tf.Tensor, count: int) -> tf.Tensor:
    """Interpolates logits of time steps linearly to `count` frames; see `interpolation`.

    Args:
        steps: [B, T, num_classes].
        count: How many frames the clip has.
    """
    return tf.matmul(interpolation(steps.shape[1], count), steps)


def correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Share of clips whose top class is their label; of equal logits the first is on top."""
    return tf.reduce_mean(tf.cast(tf.argmax(logits, axis=1) == labels, tf.float32))


def _binary_cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))
