"""Checkpoints with what is known about them, on networks with a sixteenth of their channels."""

import dataclasses

import numpy as np
import pytest

from common import arch, models
from common.annotations import label_maps
from common.io import AmbiguousNetworkError, CheckpointError, sha256
from common.model_card import ModelCard
from common.preprocessing import contracts
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.settings import UsageError
from common.training import checkpoints
from common.training.checkpoints import Snapshot, write_model
from convert import hub, published
from convert.dialects import DIALECTS, to_native
from convert.formats import safetensors
from parity_tests import randomise

CLASSES = ("run", "jump", "swim")


def _write(path, architecture="inception_i3d", classes=3, channels=3, to=None):
    net = arch.make(architecture, classes, channels)
    arrays = randomise.arrays(net)
    hub.write(hub.Weights(net, arrays), path, to)
    return arrays


def _trained(folder, contract=RGB_CONTRACT):
    """Weights as a run leaves them, with their card."""
    net = arch.make("inception_i3d_global", 3, models.CHANNELS[contract.channels])
    snapshot = Snapshot(3, net.name, randomise.arrays(net), {})
    card = ModelCard(contract.channels, CLASSES, contract, "i3d_tf")
    return write_model(folder, snapshot, card)


@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 2)])
def test_a_file_that_nothing_is_known_of(thin, tmp_path, stream, channels):
    path = tmp_path / "some.pt"
    arrays = _write(path, channels=channels, to="hassony2")
    found = models.load(path, stream)
    assert (found.net.name, found.net.num_classes, found.stream) == ("inception_i3d", 3, stream)
    assert found.contract == contracts.of_stream("inception_i3d", stream)
    assert (found.row, found.card, found.classes, found.notes) == (None, None, (), ())
    assert found.path == path
    assert found.digests == {"some.pt": f"sha256 {sha256('').of(path)}"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)


@pytest.mark.parametrize("contract", [RGB_CONTRACT, FLOW_CONTRACT])
def test_a_file_with_a_card(thin, tmp_path, contract):
    contract = dataclasses.replace(contract, frames=9, crop=48)
    found = models.load(_trained(tmp_path, contract), contract.channels)
    assert (found.net.name, found.stream) == ("inception_i3d_global", contract.channels)
    assert found.contract == contract
    assert (found.classes, found.card.backend, found.row) == (CLASSES, "i3d_tf", None)


def test_a_snapshot_is_refused(thin, tmp_path):
    """It does not say what its clips are, nor whether the average is meant."""
    net = arch.make("inception_i3d_global", 3)
    checkpoints.write(tmp_path, Snapshot(3, net.name, randomise.arrays(net), {}))
    path = tmp_path / "snapshots/step_000003.safetensors"
    message = r"000003\.safetensors: a snapshot of a .* Use the run's model\.safe"
    with pytest.raises(CheckpointError, match=message):
        models.load(path, "rgb")
    assert models.load(path, "rgb", snapshot=True).notes == (
        "a snapshot's own weights, not their average",
    )


def test_a_card_of_other_weights_is_refused(thin, tmp_path):
    path = _trained(tmp_path)
    _write(tmp_path / "other.safetensors")
    (tmp_path / "other.safetensors").replace(path)
    with pytest.raises(ValueError, match="is of other weights than"):
        models.load(path, "rgb")


def test_a_published_checkpoint(thin, tmp_path, monkeypatch):
    _write(tmp_path / "model.ckpt", classes=400, channels=2, to="kinetics_i3d")
    row = published.CHECKPOINTS["flow_scratch"]
    monkeypatch.setattr(published, "fetch", lambda *_: [tmp_path / "model.ckpt.index"] * 2)
    found = models.load("flow_scratch", "flow")
    assert (found.row, found.card, found.contract) == (row, None, FLOW_CONTRACT)
    assert found.classes == label_maps.load(label_maps.KINETICS_400)
    assert found.digests == {file.file_name: str(file.digest) for file in row.files}


def test_a_two_dimensional_network_is_inflated(thin, tmp_path):
    net = arch.make("inception_i3d")
    flat = {
        name: array.sum(axis=2, keepdims=True) if array.ndim == 5 else array
        for name, array in randomise.arrays(net).items()
    }
    native = to_native(DIALECTS["slim_inception_v1"], net, flat)
    safetensors.write(tmp_path / "image.safetensors", native)
    found = models.load(tmp_path / "image.safetensors", "rgb", num_classes=5)
    assert (found.net.name, found.net.num_classes) == ("inception_i3d", 5)
    assert found.notes == ("a new classifier of 5 classes", "2-D kernels inflated (repeat)")
    stem = "Conv3d_1a_7x7.conv.weight"
    np.testing.assert_allclose(found.arrays[stem].sum(axis=2, keepdims=True), flat[stem], rtol=1e-5)


def test_the_architecture_is_asked_for_where_several_fit(thin, tmp_path):
    path = tmp_path / "model.safetensors"
    net = arch.make("i3d_resnet50_8x8", 3)
    safetensors.write(path, randomise.arrays(net))  # and not which it is
    with pytest.raises(AmbiguousNetworkError, match="Say which it is with --architecture"):
        models.load(path, "rgb")
    found = models.load(path, "rgb", "i3d_resnet50_8x8_padded")
    assert found.net.name == "i3d_resnet50_8x8_padded"
    assert (found.contract.frames, found.contract.stride) == (8, 8)


def test_another_stream_is_refused(thin, tmp_path):
    _write(tmp_path / "rgb.pt", to="hassony2")
    with pytest.raises(ValueError, match=r"rgb\.pt: .* Expected flow, 2 .* Received: rgb\."):
        models.load(tmp_path / "rgb.pt", "flow")


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such checkpoint.*gone\.pt"):
        models.load(tmp_path / "gone.pt", "rgb")


def test_the_release(real_data):
    real_data("checkpoints/rgb_scratch/model.ckpt.index")
    found = models.load("rgb_scratch", "rgb")
    assert (found.net.name, found.net.num_classes) == ("inception_i3d", 400)
    assert (found.contract, found.classes[0]) == (RGB_CONTRACT, "abseiling")
    with pytest.raises(ValueError, match="Expected flow"):
        models.load("rgb_scratch", "flow")


def test_digests_of_a_tensorflow_checkpoint_are_of_all_its_files_and_no_others(thin, tmp_path):
    for prefix in ("m[x].ckpt", "old.ckpt"):
        _write(tmp_path / prefix, to="kinetics_i3d")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m[x].ckpt"\n')
    assert models.load(tmp_path / "m[x].ckpt.index").digests == {
        file: f"sha256 {sha256('').of(tmp_path / file)}"
        for file in ("m[x].ckpt.index", "m[x].ckpt.data-00000-of-00001")
    }


BOTH = ("rgb", "flow")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"checkpoint": "a"}, {"rgb": "a"}),
        ({"streams": ("flow",), "flow_checkpoint": "b"}, {"flow": "b"}),
        (
            {"streams": BOTH, "rgb_checkpoint": "a", "flow_checkpoint": "b"},
            {"rgb": "a", "flow": "b"},
        ),
    ],
)
def test_checkpoints(given, expected):
    assert models.StreamSettings(**given).checkpoints() == expected


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"streams": BOTH, "rgb_checkpoint": "a"}, "--flow_checkpoint is needed"),
        ({"checkpoint": "a", "flow_checkpoint": "b"}, "does not go with --streams=rgb"),
        ({"checkpoint": "a", "rgb_checkpoint": "b"}, "--checkpoint and --rgb_checkpoint exclude"),
        ({"streams": BOTH, "checkpoint": "a"}, "one stream, and --streams=rgb,flow has two: use"),
        ({"streams": ("rgb", "rgb")}, "--streams must be rgb, flow or rgb,flow"),
    ],
)
def test_checkpoints_that_contradict_each_other(given, text):
    with pytest.raises(UsageError, match=text):
        models.StreamSettings(**given).checkpoints()


def test_memory_that_runs_out_is_explained():
    clips = np.zeros((4, 64, 32, 24, 3), np.uint8)
    text = r"^out of memory with 4 clips of 64 x 32 x 24 \(.*\)\. Raise .*=bfloat16\.$"
    explained = models.explained(MemoryError, clips, models.TRAINING)
    with pytest.raises(ValueError, match=text), explained:
        raise MemoryError("no\nmore")
    with pytest.raises(KeyError), models.explained(MemoryError, clips, models.INFERENCE):
        raise KeyError
