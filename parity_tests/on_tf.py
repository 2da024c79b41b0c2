"""Runs the TensorFlow backend on NumPy arrays; the twin of `parity_tests/on_torch.py`.

Inputs and outputs are channels last, [B, T, H, W, C].
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

import i3d_tf
from common import arch
from i3d_tf import layers

# The tolerance holds for float32 on a CPU, where torch's tensors are too; a GPU uses TF32.
tf.config.set_visible_devices([], "GPU")


def layer(
    node: arch.Conv | arch.Pool, arrays: Mapping[str, np.ndarray], x: np.ndarray
) -> np.ndarray:
    """Runs one layer in inference with `arrays` by field."""
    module = layers.LAYERS[type(node)](node, x.shape[-1])
    for field, array in arrays.items():
        part, name = field.split(".")
        owner = module.norm if part == "norm" else module.conv
        name = name if part == "norm" else {"weight": "w", "bias": "b"}[name]
        i3d_tf.model.set_array(getattr(owner, name), array)
    return module(tf.constant(x)).numpy()


def pool_gradient(node: arch.Pool, x: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Gradient of sum(pool(x) * outer) with respect to x."""
    variable = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        output = layers.LAYERS[type(node)](node, x.shape[-1])(variable)
    return tape.gradient(output, variable, output_gradients=tf.constant(outer)).numpy()


def gradients(
    net: arch.Network, arrays: Mapping[str, np.ndarray], clips: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Gradients of the cross entropy for labels [B], with running statistics in batch norm."""
    model = i3d_tf.VideoModel(net)
    i3d_tf.assign(model, arrays)
    own = model.named_variables()
    trainable = [p.name for p in arch.parameters(net) if p.trainable]
    with tf.GradientTape() as tape:
        logits, _ = model(tf.constant(clips))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_mean(losses)
    found = tape.gradient(loss, {name: own[name] for name in trainable})
    return {name: i3d_tf.model.to_array(gradient) for name, gradient in found.items()}


def inference(
    net: arch.Network,
    arrays: Mapping[str, np.ndarray],
    clips: np.ndarray,
    final_endpoint: str | None = None,
    optimized: bool = False,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the output and the endpoints of the model for a batch of clips."""
    model = i3d_tf.VideoModel(net)
    i3d_tf.assign(model, arrays)
    if optimized:
        model = i3d_tf.optimize(model)
    output, endpoints = model(tf.constant(clips), final_endpoint=final_endpoint)
    return output.numpy(), {name: x.numpy() for name, x in endpoints.items()}


def training(
    net: arch.Network, arrays: Mapping[str, np.ndarray], clips: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the endpoints of a pass in training mode, and all arrays after it."""
    model = i3d_tf.VideoModel(net)
    i3d_tf.assign(model, arrays)
    _, endpoints = model(tf.constant(clips), is_training=True)
    return {name: x.numpy() for name, x in endpoints.items()}, i3d_tf.arrays(model)
