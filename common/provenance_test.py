import hashlib
import json

import numpy as np
import pytest

from common import provenance
from convert.formats import tf1_checkpoint


@pytest.mark.parametrize("name", ["m[x].ckpt", "m[x].ckpt.index", ""])
def test_a_tensorflow_checkpoint_is_all_its_files_and_no_others(tmp_path, name):
    for prefix in ("m[x].ckpt", "old.ckpt"):
        tf1_checkpoint.write(tmp_path / prefix, {"w": np.ones(3, np.float32)})
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m[x].ckpt"\n')
    assert provenance.weights(tmp_path / name, None) == {
        file: f"sha256 {hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()}"
        for file in ("m[x].ckpt.index", "m[x].ckpt.data-00000-of-00001")
    }


def test_versions():
    assert provenance.versions("unknown")["numpy"]
    assert "torch" in provenance.versions("i3d_torch")
    assert "tensorflow" in provenance.versions("i3d_tf")


def test_json_has_no_nan_and_keeps_names():
    assert json.loads(provenance.to_json({"class": "jeté"})) == {"class": "jeté"}
    with pytest.raises(ValueError, match="JSON"):
        provenance.to_json({"norm": float("nan")})
