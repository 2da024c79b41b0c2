"""Checks of the commands `train` and `evaluate` of either framework."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import arch, command, model_card
from common.evaluation import scores
from common.testing import forking
from common.testing.data import CLASSES, put
from common.training import checkpoints, validation
from common.training.settings import Settings
from convert import hub

RECIPE = {
    "steps": "3", "batch": "2", "schedule": "constant", "milestones": "", "rates": "",
    "learning_rate": "0.02", "global_pool": "true", "sample_duration": "8", "short_side": "32,32",
    "crop": "32", "evaluate_every": "3", "snapshot_every": "1", "log_every": "1", "keep": "1",
}  # fmt: skip

# What is wrong: flags (with {} for the folder of the data), and what the one line says.
WRONG = {
    "labels beyond the head": (["--num_classes=2"], "expected labels below 2"),
    "an unknown field": (["--set=learning_rat=1"], "Expected one of learning_rate"),
    "a clip without frames": (["--rgb={}/missing"], "1 of 6 records cannot be read"),
    "flow made in two ways": (
        ["--streams=flow", "--flow={}/mixed"], "was not all made in the same way: parameters.warps"
    ),
    "weights of another network": (
        ["--checkpoint={}/other.safetensors"], "Expected inception_i3d_global. Received: r2plus1d"
    ),
}  # fmt: skip

Main = Callable[[Settings], int]


def _flags(data: Path, **recipe: str) -> list[str]:
    """Flags of a run on the data set that `put` has put into a folder."""
    fields = [f"--set={name}={value}" for name, value in {**RECIPE, **recipe}.items()]
    paths = [f"--annotations={data}/annotations.json", f"--rgb={data}/rgb"]
    return [*paths, "--workers=0", "--notensorboard", *fields]


def check_run(backend: str, data: Path) -> None:
    """In processes: a run leaves its files, they agree, and `evaluate` finds what it found."""
    put(data, validation=5)
    flags = [*_flags(data), f"--output={data}/run", "--export=kinetics_i3d,piergiaj"]
    done = _run(data, f"{backend}.train", *flags)
    assert f"trained 3 steps: {data}/run/model.safetensors" in done
    assert {path.name for path in (data / "run").iterdir()} - {".lock"} == {
        "snapshots", "best.json", "log.jsonl", "curves.png", "model.json", "model.safetensors",
        "model_best.json", "model_best.safetensors",
        "model_kinetics_i3d.ckpt.index", "model_kinetics_i3d.ckpt.data-00000-of-00001",
        "model_piergiaj.pt",
    }  # fmt: skip
    *trained, validated = (json.loads(line) for line in (data / "run/log.jsonl").open())
    rates = [(note["step"], note["learning_rate"]) for note in trained]
    assert rates == [(1, 0.02), (2, 0.02), (3, 0.02)]
    assert trained[0]["loss"] < 2.5  # of fresh weights about log 3
    assert all(note["gradient_norm"] > 0 for note in trained)
    card = model_card.read(data / "run/model.safetensors")
    assert card is not None
    assert (card.classes, card.step, card.backend) == (CLASSES, 3, backend)
    _check_exports(data / "run")

    flags = [*_flags(data)[:3], "--protocol=clip", f"--output={data}/results"]
    _run(data, f"{backend}.evaluate", f"--checkpoint={data}/run/model.safetensors", *flags)
    results = json.loads((data / "results/results.json").read_text())
    assert results["top_1"] == validated["validation_accuracy"]
    assert results["coverage"] == {"expected": 5, "evaluated": 5, "failed": 0}
    found = scores.read(data / "results/scores_rgb.npz")
    loss = validation.cross_entropy(found.logits, found.labels)
    np.testing.assert_allclose(loss, validated["validation_loss"], rtol=1e-6)


def _check_exports(run: Path) -> None:
    weights = hub.read(run / "model.safetensors")
    assert weights.net.name == "inception_i3d_global"
    for name in ("model_kinetics_i3d.ckpt", "model_piergiaj.pt"):
        exported = hub.read(run / name)
        assert (exported.net.name, exported.net.num_classes) == ("inception_i3d", 3)
        assert f"model_{exported.dialect}" == Path(name).stem
        for array, expected in weights.arrays.items():
            np.testing.assert_array_equal(exported.arrays[array], expected, err_msg=array)


def check_wrong(main: Main, data: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is wrong, and nothing is written."""
    put(data)
    shutil.copytree(data / "rgb", data / "missing")
    shutil.rmtree(next((data / "missing/dark").glob("training_*")))
    shutil.copytree(data / "flow", data / "mixed")
    stamp = next((data / "mixed/light").glob("training_*.json"))
    stamp.write_text(stamp.read_text().replace('"warps": 5', '"warps": 3'))
    net = arch.make("r2plus1d_18", len(CLASSES))
    hub.write(hub.Weights(net, arch.initial_arrays(net)), data / "other.safetensors")
    flags, text = WRONG[case]
    given = [*_flags(data), f"--output={data}/run", *(flag.format(data) for flag in flags)]
    _check_line(command.call(main, Settings, given), capsys.readouterr(), text)
    assert not (data / "run").exists()


def check_divergence(main: Main, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rate that is far too high ends the run; the last snapshot is whole."""
    put(data)
    given = [*_flags(data, learning_rate="1e30", steps="9"), f"--output={data}/run"]
    status = command.call(main, Settings, given)
    said = capsys.readouterr()
    _check_line(status, said, ", learning rate 1e+30: the ")
    assert "try a lower learning rate" in said.err
    assert not (data / "run/model.safetensors").exists()
    last = checkpoints.RunFolder(data / "run").latest()
    assert last is not None
    assert f"step {last.step}, " in said.err  # counted from 0
    assert hub.read(data / f"run/snapshots/step_{last.step:06}.safetensors").net.num_classes == 3


def _check_line(status: int, said: Any, text: str) -> None:
    assert status == 1
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert text in errors[0]
    assert said.out == ""


def _run(data: Path, module: str, *flags: str) -> str:
    """The output of a command that ends well."""
    done = subprocess.run(
        [sys.executable, "-m", module, *flags], env=forking.environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
