import numpy as np
import pytest

from common.evaluation import fusion

# The logits of "playing cricket" on DeepMind's sample: RGB, flow, and what they print for both.
RGB, FLOW, JOINT = 25.856646, 15.957031, 41.813675

ONE = [[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]]
OTHER = [[4.0, 0.0, -1.0], [2.0, 1.0, 0.0]]


def test_logits_are_added():
    np.testing.assert_array_equal(fusion.fuse([ONE, OTHER]), [[5, 2, 2], [2, 1, 5]])
    assert fusion.fuse([[[RGB]], [[FLOW]]])[0, 0] == pytest.approx(JOINT, abs=3e-6)
    np.testing.assert_array_equal(fusion.fuse([ONE]), ONE)
    weighted = fusion.fuse([ONE, OTHER], weights=[1, 1.5])
    np.testing.assert_array_equal(weighted, [[7, 2, 1.5], [3, 1.5, 5]])


def test_probabilities_are_averaged():
    def by_hand(row):
        powers = [np.e**logit for logit in row]
        return np.array([power / sum(powers) for power in powers])

    fused = fusion.fuse([ONE, OTHER], "softmax", [1, 3])
    expected = [
        (by_hand(one) + 3 * by_hand(other)) / 4 for one, other in zip(ONE, OTHER, strict=True)
    ]
    np.testing.assert_allclose(fused, expected, rtol=1e-14)
    np.testing.assert_allclose(fused.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(fusion.fuse([ONE, OTHER], "softmax", [0.5, 1.5]), fused, rtol=1e-14)
    # Equal weights unless told: neither the sum nor a mean of logits.
    np.testing.assert_allclose(fusion.fuse([ONE, ONE], "softmax"), fusion.softmax(ONE), rtol=1e-14)


def test_the_two_ways_differ_in_what_wins():
    sure, unsure = [[9.0, 0.0, 0.0]], [[-8.0, 2.5, 0.0]]
    assert fusion.fuse([sure, unsure]).argmax() == 1
    assert fusion.fuse([sure, unsure], "softmax").argmax() == 0


def test_softmax_of_any_size():
    np.testing.assert_allclose(fusion.softmax([0.0, np.log(3)]), [0.25, 0.75], rtol=1e-15)
    for shift in (1e4, -1e4, 1e30):
        np.testing.assert_array_equal(fusion.softmax([shift, shift]), [0.5, 0.5])
    np.testing.assert_array_equal(fusion.softmax([1e4, 0, -1e4]), [1, 0, 0])
    assert fusion.softmax(np.zeros((2, 3, 4), np.float32)).dtype == np.float64
    np.testing.assert_array_equal(fusion.softmax(np.zeros((2, 3, 4))), np.full((2, 3, 4), 0.25))


def test_inputs_stay_as_they_are():
    one = np.array(ONE)
    fusion.fuse([one, OTHER], weights=[2, 1])
    np.testing.assert_array_equal(one, ONE)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"one of logits, softmax\. Received: 'mean'"):
        fusion.fuse([ONE], "mean")
    with pytest.raises(ValueError, match=r"one shape \[N, K\]. Received: \[2, 3\], \[1, 3\]"):
        fusion.fuse([ONE, OTHER[:1]])
    with pytest.raises(ValueError, match="Received: none"):
        fusion.fuse([])
    with pytest.raises(ValueError, match=r"stream 1: expected logits \[N, K\].* \[3\]"):
        fusion.fuse([ONE, ONE[0]])
    with pytest.raises(ValueError, match=r"stream 1: .* in 1 of 2 rows, first in row 1\."):
        fusion.fuse([ONE, [[0, 0, 0], [0, np.nan, 0]]])
    for weights in ([1], [1, -1], [0, 0], [1, np.nan]):
        with pytest.raises(ValueError, match="weights must be 2 numbers from 0"):
            fusion.fuse([ONE, OTHER], weights=weights)
