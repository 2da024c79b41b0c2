"""The TensorFlow model as a program meets it; the twin of `i3d_torch/model_test.py`."""

import numpy as np
import pytest
import tensorflow as tf

import i3d_tf
from common import arch
from parity_tests import randomise

NET = arch.narrow(arch.make("i3d_resnet50_nl_8x8", 5), 16)
NAMES = ("inception_i3d", "i3d_resnet50_nl_8x8_affine", "r2plus1d_18")


@pytest.fixture(scope="module")
def model():
    model = i3d_tf.VideoModel(NET)
    i3d_tf.assign(model, randomise.arrays(NET))
    return model


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_has_its_variables(name):
    net = arch.narrow(arch.make(name, 5, 2), 16)
    model = i3d_tf.VideoModel(net)
    expected = {p.name: p.shape for p in arch.parameters(net)}
    assert bytes(model.architecture.numpy()).decode() == name
    assert {name: array.shape for name, array in i3d_tf.arrays(model).items()} == expected
    assert len(model.variables) == len(expected) + 1


def test_dropout_only_in_training(model):
    features, head = tf.ones([1, 1, 1, 1, 128]), model.layers["Logits"]
    np.testing.assert_array_equal(head(features), head(features))
    assert np.any(head(features, is_training=True) != head(features, is_training=True))


def test_one_graph_for_every_length_gives_the_same_numbers(model, caplog):
    signature = tf.TensorSpec([None, None, 33, 47, 3])
    graph = tf.function(lambda clips: model(clips)[0], input_signature=[signature])
    for frames in (8, 11):
        clips = tf.constant(randomise.clips((1, frames, 33, 47, 3)))
        np.testing.assert_allclose(graph(clips), model(clips)[0], rtol=1e-4, atol=1e-5)
    assert caplog.messages == []
