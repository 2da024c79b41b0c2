"""The TensorFlow model as a program meets it; the twin of `i3d_torch/model_test.py`."""

import numpy as np
import pytest
import tensorflow as tf

import i3d_tf
from common import arch

NET = arch.narrow(arch.inception_i3d(51), 8)


@pytest.fixture(scope="module")
def model():
    return i3d_tf.VideoModel(NET)


def test_inception_i3d_is_ready_for_inference():
    model = i3d_tf.inception_i3d(num_classes=12, in_channels=2)
    clips = tf.zeros([1, 9, 193, 193, 2])
    first, endpoints = model(clips)
    second, _ = model(clips)
    assert first.shape == endpoints["Predictions"].shape == (1, 12)
    np.testing.assert_array_equal(first, second)
    assert endpoints["Mixed_5c"].shape == (1, 2, 7, 7, 1024)


def test_there_is_a_variable_for_every_parameter():
    model = i3d_tf.inception_i3d()
    state = i3d_tf.arrays(model)
    expected = {p.name: p.shape for p in arch.parameters(arch.inception_i3d())}
    assert {name: array.shape for name, array in state.items()} == expected
    assert bytes(model.architecture.numpy()) == b"inception_i3d"
    assert len(model.variables) == 231
    assert sum(int(tf.size(v)) for v in model.trainable_variables) == 12_689_984


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_every_architecture_has_its_variables(name):
    net = arch.narrow(arch.make(name, 5, 2), 16)
    model = i3d_tf.VideoModel(net)
    expected = {p.name: p.shape for p in arch.parameters(net)}
    assert bytes(model.architecture.numpy()).decode() == name
    assert {name: array.shape for name, array in i3d_tf.arrays(model).items()} == expected
    assert len(model.variables) == len(expected) + 1


def test_dropout_only_in_training():
    features = tf.ones([1, 2, 1, 1, 128])
    head = i3d_tf.VideoModel(NET).layers["Logits"]
    np.testing.assert_array_equal(head(features), head(features))
    assert np.any(head(features, is_training=True) != head(features, is_training=True))


def test_gradients_reach_every_parameter():
    model = i3d_tf.VideoModel(NET)
    clips = tf.constant(np.random.default_rng(0).random((2, 9, 193, 193, 3), "f"))
    with tf.GradientTape() as tape:
        logits, _ = model(clips, is_training=True)
        loss = tf.reduce_sum(tf.square(logits))
    gradients = tape.gradient(loss, model.trainable_variables)
    dead = [
        variable.name
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        if not tf.reduce_max(tf.abs(gradient)) > 0
    ]
    assert dead == []


def test_one_graph_for_every_length_gives_the_same_numbers(model):
    signature = tf.TensorSpec([None, None, 193, 193, 3])
    graph = tf.function(lambda clips: model(clips)[0], input_signature=[signature])
    for frames in (9, 17):
        clips = tf.constant(np.random.default_rng(0).random((1, frames, 193, 193, 3), "f"))
        np.testing.assert_allclose(graph(clips), model(clips)[0], rtol=1e-4, atol=1e-6)


def test_a_graph_is_made_without_a_warning(model, caplog):
    tf.function(lambda clips: model(clips)[0])(tf.zeros([1, 9, 193, 193, 3]))
    assert [record.getMessage() for record in caplog.records] == []
