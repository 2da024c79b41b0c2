"""TensorFlow 2's checkpoints: what TensorFlow saves is read, what is written it restores."""

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import tf1_checkpoint, tf2_checkpoint

# Paths of objects, with what TensorFlow escapes.
ARRAYS = {
    "layers/Conv3d_1a_7x7/conv/w": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "layers/Conv3d_1a_7x7/norm/moving_mean": np.array([0.5, -1.0], np.float32),
    "layers/Mixed_3b..Branch_0.Sconv/w": np.array([[7.0]]),
    "layers/Mixed_3b..Branch_0.Sconv/..S": np.array([8, 9]),
    "steps/0": np.array(3, np.int64),
    "steps/1": np.array(4, np.int32),
}
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
COUNTER = "save_counter" + VALUE
SLOTS = "w/.OPTIMIZER_SLOT/optimizer/momentum"


@pytest.fixture
def tensorflow():
    return pytest.importorskip("tensorflow", reason="it is the judge")


@pytest.fixture
def model(tensorflow):
    """A function that makes a module with the variables of ARRAYS, all of them zero."""

    class Model(tensorflow.Module):
        def __init__(self):
            super().__init__()
            zeros = {name: tensorflow.Variable(array * 0) for name, array in ARRAYS.items()}
            conv, mean, w, dots, first, second = zeros.values()
            self.layers = {
                "Conv3d_1a_7x7": {"conv": {"w": conv}, "norm": tensorflow.Module()},
                "Mixed_3b.Branch_0/conv": {"w": w, ".S": dots},
            }
            self.layers["Conv3d_1a_7x7"]["norm"].moving_mean = mean
            self.steps = [first, second]
            self.by_name = tensorflow.Module()  # one without variables

        def values(self):
            conv, mixed = self.layers.values()
            named = [conv["conv"]["w"], conv["norm"].moving_mean, mixed["w"], mixed[".S"]]
            return dict(zip(ARRAYS, [*named, *self.steps], strict=True))

        def assign(self):
            for name, variable in self.values().items():
                variable.assign(ARRAYS[name])

    return Model


def test_tensorflow_restores_what_is_written(tmp_path, tensorflow, model):
    tf2_checkpoint.write(tmp_path / "m", ARRAYS)
    restored = model()
    tensorflow.train.Checkpoint(restored).restore(str(tmp_path / "m")).assert_consumed()
    for name, variable in restored.values().items():
        np.testing.assert_array_equal(variable.numpy(), ARRAYS[name], err_msg=name)


@pytest.mark.parametrize("how", ["write", "save"])
def test_what_tensorflow_saves(tmp_path, tensorflow, model, same, how):
    saved = model()
    saved.assign()
    saved.names = tensorflow.Variable(["left", "out"])
    prefix = getattr(tensorflow.train.Checkpoint(saved), how)(str(tmp_path / "m"))
    same(tf2_checkpoint.read(prefix), ARRAYS)
    assert tf2_checkpoint.recognises(prefix) and not tf1_checkpoint.recognises(prefix)
    assert tf2_checkpoint.recognises(tmp_path) and not tf1_checkpoint.recognises(tmp_path)
    same(tf2_checkpoint.read(tmp_path), ARRAYS)
    assert sorted(file.suffix for file in tf2_checkpoint.files(prefix)) == sorted(
        file.suffix for file in tmp_path.iterdir() if file.name != "checkpoint"
    )


def test_slot_variables(tmp_path, tensorflow):
    tf = tensorflow
    root = tf.train.Checkpoint(w=tf.Variable([1.0]))
    root.optimizer = tf.compat.v1.train.MomentumOptimizer(1.0, 0.5)
    root.optimizer.apply_gradients([(tf.constant([0.25]), root.w)])
    got = tf2_checkpoint.read(root.write(str(tmp_path / "m")))
    assert {name: array.tolist() for name, array in got.items()} == {"w": [0.75], SLOTS: [0.25]}


def test_saved_model_folder_without_tensorflow(tmp_path, same):
    folder = tmp_path / "saved"
    tf2_checkpoint.write(folder / "variables" / "variables", ARRAYS)
    assert not tf2_checkpoint.recognises(folder)
    (folder / "saved_model.pb").touch()
    assert tf2_checkpoint.recognises(folder)
    same(tf2_checkpoint.read(folder), ARRAYS)
    (folder / "variables" / "variables.data-00000-of-00001").unlink()
    with pytest.raises(CheckpointError, match=rf"^{folder}/variables/.* this data file is missing"):
        tf2_checkpoint.read(folder)
    (folder / "variables" / "variables.index").unlink()
    assert not tf2_checkpoint.recognises(folder)
    with pytest.raises(FileNotFoundError, match=r"variables\.index"):
        tf2_checkpoint.read(folder)


def test_own_counter_of_saves(tmp_path):
    counter = {"save_counter": np.array(5, np.int64)}
    tf2_checkpoint.write(tmp_path / "m", {**counter, "w": np.ones(2)})
    assert tf1_checkpoint.read(tmp_path / "m")[COUNTER] == 5
    assert list(tf2_checkpoint.read(tmp_path / "m")) == ["w"]
    tf2_checkpoint.write(tmp_path / "m", counter)
    with pytest.raises(
        CheckpointError, match=rf"^{tmp_path / 'm'}: holds no array but the counter"
    ):
        tf2_checkpoint.read(tmp_path / "m")


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"": np.ones(1)}, "empty name"),
        ({"a..b": np.ones(1), "a.b": np.ones(1)}, "a.b and a..b stand for the same object"),
        ({"w": np.array(["text"])}, "w/.ATTRIBUTES/VARIABLE_VALUE has dtype <U4"),
    ],
)
def test_what_cannot_be_written(tmp_path, arrays, text):
    with pytest.raises(CheckpointError) as caught:
        tf2_checkpoint.write(tmp_path / "m", arrays)
    assert str(caught.value).startswith(f"{tmp_path / 'm'}: ") and text in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_there_twice(tmp_path):
    tf1_checkpoint.write(tmp_path / "m", {"w": np.ones(1), f"w{VALUE}": np.ones(1)}, {GRAPH: b""})
    with pytest.raises(CheckpointError, match=rf"^{tmp_path / 'm'}: w is there twice"):
        tf2_checkpoint.read(tmp_path / "m")
