import hashlib
import json

import pytest

from common import provenance


@pytest.mark.parametrize("name", ["model.ckpt", "model.ckpt.index", ""])
def test_a_tensorflow_checkpoint_is_all_its_files(tmp_path, name):
    files = {"model.ckpt.index": b"i", "model.ckpt.data-00000-of-00001": b"d"}
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    (tmp_path / "notes.txt").write_text("not weights")
    assert provenance.weights(tmp_path / name, None) == {
        file: f"sha256 {hashlib.sha256(content).hexdigest()}" for file, content in files.items()
    }


def test_versions():
    assert provenance.versions("unknown")["numpy"]
    assert "torch" in provenance.versions("i3d_torch")
    assert "tensorflow" in provenance.versions("i3d_tf")


def test_json_has_no_nan_and_keeps_names():
    assert json.loads(provenance.to_json({"class": "jeté"})) == {"class": "jeté"}
    with pytest.raises(ValueError, match="JSON"):
        provenance.to_json({"norm": float("nan")})
