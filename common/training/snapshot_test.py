"""One snapshot as a file; that its arrays come back is tested with the folder of a run."""

import numpy as np
import pytest

from common.io import CheckpointError
from common.training import snapshot
from common.training.snapshot import Snapshot
from convert.formats import safetensors

NAME = "Logits.Conv3d_0c_1x1.conv.bias"


def test_what_is_written_is_read(tmp_path):
    arrays = {NAME: np.float32([1, -0.0]), f"average/{NAME}": np.float32([3, 4])}
    written = Snapshot(20, "inception_i3d", 2, 3, arrays, {"seed": 0}, {"flow": None}, {"bad": 1})
    snapshot.write(tmp_path / "one.safetensors", written)
    found = snapshot.read(tmp_path / "one.safetensors")
    assert vars(found).keys() == vars(written).keys()
    for name, value in vars(written).items():
        if name != "arrays":
            assert getattr(found, name) == value
    assert found.has_average
    np.testing.assert_array_equal(found.weights(averaged=True)[NAME], [3, 4])
    np.testing.assert_array_equal(found.weights(averaged=False)[NAME], [1, 0])


def test_a_checkpoint_is_no_snapshot(tmp_path):
    safetensors.write(tmp_path / "m.safetensors", {"w": np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match=r"m\.safetensors: no snapshot.*--checkpoint"):
        snapshot.read(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ('{"format_version": 2}', "expected a snapshot of format version 1. Received: 2"),
        ('{"format_version": 1, "best": null, "step": 3}', "is not what this software writes"),
        ("[]", "is not what this software writes"),
        ("{", "is not what this software writes"),
    ],
)
def test_what_others_say_of_a_run(tmp_path, run, message):
    arrays = {"w": np.zeros(3, np.float32), "run": snapshot.as_array(run)}
    safetensors.write(tmp_path / "m.safetensors", arrays)
    with pytest.raises(CheckpointError, match=message):
        snapshot.read(tmp_path / "m.safetensors")
