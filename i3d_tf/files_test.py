"""Files that TensorFlow reads itself; `parity_tests/model_test.py` has the rest."""

import numpy as np
import tensorflow as tf

from common import arch
from convert import hub
from parity_tests import randomise


def test_tensorflow_itself_opens_what_is_written(tmp_path):
    net = arch.inception_i3d(7, 2)
    weights = hub.Weights(net, randomise.arrays(net))
    hub.write(weights, tmp_path / "model.ckpt")
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt"))
    assert len(reader.get_variable_to_shape_map()) == 230
    kernel = reader.get_tensor("Flow/inception_i3d/Conv3d_1a_7x7/conv_3d/w")
    expected = weights.arrays["Conv3d_1a_7x7.conv.weight"].transpose(2, 3, 4, 1, 0)
    np.testing.assert_array_equal(kernel, expected)
