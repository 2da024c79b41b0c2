"""A check of the commands `train` and `evaluate` of either framework."""

import json
from pathlib import Path

import numpy as np

from common import model_card
from common.evaluation import scores
from common.testing import commands
from common.testing.data import CLASSES, put
from common.training import logger, validation
from convert import hub

RECIPE = {
    "steps": "3", "batch": "2", "schedule": "constant", "milestones": "", "rates": "",
    "learning_rate": "0.02", "global_pool": "true", "sample_duration": "8", "short_side": "32,32",
    "crop": "32", "evaluate_every": "3", "snapshot_every": "1", "log_every": "1", "keep": "1",
}  # fmt: skip


def check_run(backend: str, data: Path) -> None:
    """A run leaves its files, they agree, and `evaluate` finds what validation found."""
    put(data, validation=5)
    paths = [f"--annotations={data}/annotations.json", f"--rgb={data}/rgb", "--workers=0"]
    fields = [f"--set={name}={value}" for name, value in RECIPE.items()]
    output = [f"--output={data}/run", "--export=kinetics_i3d,piergiaj", "--notensorboard"]
    done = commands.run(f"{backend}.train", *paths, *fields, *output)
    assert done.returncode == 0, done.stderr
    assert f"trained 3 steps: {data}/run/model.safetensors" in done.stdout
    assert {path.name for path in (data / "run").iterdir()} - {".lock"} == {
        "snapshots", "log.jsonl", "curves.png", "model.json", "model.safetensors",
        "model_best.json", "model_best.safetensors",
        "model_kinetics_i3d.ckpt.index", "model_kinetics_i3d.ckpt.data-00000-of-00001",
        "model_piergiaj.pt",
    }  # fmt: skip
    *trained, validated = logger.read(data / "run")
    rates = [(entry["step"], entry["learning_rate"]) for entry in trained]
    assert rates == [(1, 0.02), (2, 0.02), (3, 0.02)]
    assert trained[0]["loss"] < 2.5  # of fresh weights about log 3
    assert all(entry["gradient_norm"] > 0 for entry in trained)
    card = model_card.read(data / "run/model.safetensors")
    assert card is not None
    assert (card.classes, card.step, card.backend) == (CLASSES, 3, backend)
    _check_exports(data / "run")

    weights = f"--checkpoint={data}/run/model.safetensors"
    results = [weights, "--protocol=clip", f"--output={data}/results"]
    done = commands.run(f"{backend}.evaluate", *paths, *results)
    assert done.returncode == 0, done.stderr
    found = json.loads((data / "results/results.json").read_text())
    assert found["top_1"] == validated["validation_accuracy"]
    assert found["coverage"] == {"expected": 5, "evaluated": 5, "failed": 0}
    stored = scores.read(data / "results/scores_rgb.npz")
    loss = validation.cross_entropy(stored.logits, stored.labels)
    np.testing.assert_allclose(loss, validated["validation_loss"], rtol=1e-5)


def _check_exports(run: Path) -> None:
    weights = hub.read(run / "model.safetensors")
    assert weights.net.name == "inception_i3d_global"
    for name in ("model_kinetics_i3d.ckpt", "model_piergiaj.pt"):
        exported = hub.read(run / name)
        assert (exported.net.name, exported.net.num_classes) == ("inception_i3d", 3)
        assert f"model_{exported.dialect}" == Path(name).stem
        for array, expected in weights.arrays.items():
            np.testing.assert_array_equal(exported.arrays[array], expected, err_msg=array)
