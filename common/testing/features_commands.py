"""The command `extract_features` of either framework as a process: a folder with everything in it.

`common/features/command_test.py` tests what the command does besides computing.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from common import arch
from common.io import sha256
from common.preprocessing import contracts
from common.testing import forking
from common.testing.films import Film
from convert import hub

WIDTH = 1024  # numbers of a row


def put(folder: Path) -> None:
    """Writes weights, a video of 33 frames, and an array of 20 frames."""
    randomise = importlib.import_module("parity_tests.randomise")
    net = arch.make("inception_i3d_global", 4)
    hub.write(hub.Weights(net, randomise.arrays(net)), folder / "rgb.safetensors")
    Film("b/c d.avi", 33, (1, 1)).write(folder / "videos")
    np.save(folder / "videos/f_rgb.npy", randomise.clips((1, 20, 40, 48, 3)))


def line(backend: str, source: str | Path, output: Path, *flags: str) -> list[str]:
    """The command line of a process in the folder where `put` has put everything."""
    return [
        *(sys.executable, "-m", f"{backend}.extract_features"),
        *(f"--input={source}", f"--output={output}", "--checkpoint=rgb.safetensors"),
        *("--crop_size=32", "--short_side=40", "--window=9", "--batch_size=2"),
        *flags,
    ]


def check_process(backend: str, folder: Path) -> None:
    """A process extracts everything; rows and record are what they should be."""
    put(folder)
    done = subprocess.run(
        line(backend, "videos", folder / "out"), cwd=folder, env=forking.environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "extract_features: 2 done, 0 skipped, 0 failed, 53 frames, 5 rows\n"
    _check_record(backend, folder, json.loads((folder / "out/b/c d.json").read_text()))
    array = np.load(folder / "out/b/c d.npy")
    assert (array.shape, array.dtype) == ((3, WIDTH), np.float32)


def _check_record(backend: str, folder: Path, record: dict[str, Any]) -> None:
    """What the rows were made with, and the frames and seconds of each."""
    weights = f"sha256 {sha256('').of(folder / 'rgb.safetensors')}"
    contract = contracts.of_stream("inception_i3d_global", "rgb")
    assert record["streams"] == {
        "rgb": {
            "architecture": "inception_i3d_global",
            "weights": {"rgb.safetensors": weights},
            "contract": json.loads(json.dumps(vars(contract))),
            "endpoint": "Features",
            "precision": "float32",
        }
    }
    extraction = {
        "mode": "segment", "window": 9, "stride": 9, "fps": 25, "short_side": 40, "crop_size": 32
    }  # fmt: skip
    assert record["extraction"].items() >= extraction.items()
    assert {"python", "i3d", "numpy", "av"} < record["versions"].keys()
    named = (record["backend"], record["source"], record["frames"], record["flow"])
    assert named == (backend, "c d.avi", 33, None)
    assert record["arrays"]["rgb"][""] == {
        "shape": [3, WIDTH],
        "fps": 25,
        "first": [0, 9, 18],
        "last": [9, 18, 27],
        "start": [0, 0.36, 0.72],
        "center": [0.18, 0.54, 0.9],
        "end": [0.36, 0.72, 1.08],
    }
