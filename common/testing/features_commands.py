"""What the command `extract_features` of either framework does when people run it."""

import contextlib
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import arch, command, models
from common.annotations import Action, Annotations, Record, annotation_files
from common.features import outputs
from common.io import sha256
from common.models import MakePredictor
from common.preprocessing import contracts, crops
from common.testing import forking
from common.testing import torture as torture
from common.testing.films import Film
from common.testing.tasks import contents, failed
from convert import hub

SETTINGS = ("--crop_size=32", "--short_side=40", "--window=9", "--batch_size=2")
WIDTH = 1024  # numbers of a row
TWO = (
    "--streams=rgb,flow", "--rgb_checkpoint=rgb.safetensors",
    "--flow_checkpoint=flow.safetensors", "--tvl1=warps=1",
)  # fmt: skip

# By what is wrong: flags, and what the one line says. Those of flags alone are in settings_test.
WRONG = {
    "a window that is too short": (
        ["--checkpoint=pooled.safetensors", "--window=4", "--crop_size=224"],
        "inception_i3d: the clip is too small. Expected at least 9x193x193",
    ),
    "no video": (["--input=empty"], "0 videos found under empty, looked for .3gp, .asf, .avi"),
    "no such video": (["--input=gone.mp4"], "gone.mp4: there is no such file or folder"),
    "another stream": (
        ["--checkpoint=flow.safetensors"],
        "flow.safetensors: the weights are for another stream. Expected rgb, 3 channels",
    ),
    "no such endpoint": (["--endpoint=Mixed_9z"], "no such endpoint. Expected one of Conv"),
    "a flag of no command": (["--fsp=25"], "Unknown command line flag 'fsp'"),
}

# Other ways to extract: flags, and of a.mp4 what rows are of, their shape, and which files.
_SECOND = [[0, 16], [4, 20]]
OTHERS = {
    "other windows": (["--window=16", "--stride=4"], _SECOND, [WIDTH], ["a.npy"]),
    "an endpoint": (
        ["--window=16", "--stride=4", "--endpoint=Conv3d_2c_3x3", "--format=npz"],
        _SECOND, [192], ["a.npz"],
    ),
    "dense": (
        ["--mode=dense", "--format=safetensors"], [[0, 20]] * 3, [WIDTH], ["a.safetensors"]
    ),
    "framewise": (
        ["--mode=framewise", "--frequency=10", "--crops=three"],
        [[0, 5], [6, 15]], [3, WIDTH], ["a.npy"],
    ),
    "a span": (["--start=0.2", "--end=0.61"], [[0, 9]], [WIDTH], ["a.npy"]),
    "two streams": ([*TWO], [[0, 9], [9, 18]], [WIDTH], ["a_rgb.npy", "a_flow.npy"]),
    "two streams, joined": ([*TWO, "--join"], [[0, 9], [9, 18]], [2 * WIDTH], ["a.npy"]),
}  # fmt: skip


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    errors: str


def put(folder: Path) -> None:
    """Writes weights, videos of 20 and 33 frames, 20 images and an array of as many frames."""
    randomise = importlib.import_module("parity_tests.randomise")
    for name, architecture, channels in (
        ("rgb", "inception_i3d_global", 3), ("flow", "inception_i3d_global", 2),
        ("pooled", "inception_i3d", 3),
    ):  # fmt: skip
        net = arch.make(architecture, 4, channels)
        hub.write(hub.Weights(net, randomise.arrays(net)), folder / f"{name}.safetensors")
    for film in (Film("a.mp4", 20, (1, 0)), Film("b/c d.avi", 33, (1, 1)), Film("e", 20, (0, 1))):
        film.write(folder / "videos")
    np.save(folder / "videos/f_rgb.npy", randomise.clips((1, 20, 40, 48, 3)))
    (folder / "empty").mkdir()


def arguments(source: str | Path, output: Path, *flags: str) -> list[str]:
    weights = [] if any("_checkpoint=" in flag for flag in flags) else ["rgb.safetensors"]
    given = (*SETTINGS, *(f"--checkpoint={each}" for each in weights), *flags)
    return [f"--input={source}", f"--output={output}", *given]


def line(backend: str, source: str | Path, output: Path, *flags: str) -> list[str]:
    """The command line of a process."""
    module = f"{backend}.extract_features"
    return [sys.executable, "-m", module, *arguments(source, output, *flags)]


def extract(backend: str, data: Path, output: Path, *flags: str, source: str = "videos") -> Done:
    """Extracts from the folder `data`, where `put` has put everything, in this process."""
    module = importlib.import_module(f"{backend}.extract_features")
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(data),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        given = arguments(source, output, *flags)
        status = command.call(module.main, module.Settings, given)
    return Done(status, out.getvalue(), err.getvalue())


def check_run(backend: str, data: Path, output: Path) -> None:
    """A process does a folder with everything in it; what is done stays as it is."""
    done = subprocess.run(
        line(backend, "videos", output), cwd=data, env=forking.environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "extract_features: 4 done, 0 skipped, 0 failed, 93 frames, 9 rows\n"
    rows = {"a": 2, "b/c d": 3, "e": 2, "f_rgb": 2}
    assert _files(output) == _made([f"{name}{end}" for name in rows for end in (".npy", ".json")])
    for name, count in rows.items():
        array, record = np.load(output / f"{name}.npy"), _record(output, name)
        assert (array.shape, array.dtype) == ((count, WIDTH), np.float32)
        ends = {"first": [9 * k for k in range(count)], "last": [9 * k + 9 for k in range(count)]}
        times = {
            "start": [round(0.36 * k, 6) for k in range(count)],
            "center": [round(0.36 * k + 0.18, 6) for k in range(count)],
            "end": [round(0.36 * k + 0.36, 6) for k in range(count)],
        }
        known = name != "e"  # nothing says the rate of images
        of = {"shape": [count, WIDTH], "fps": 25 if known else None, **ends}
        assert record["arrays"] == {
            "rgb": {"": {**of, **(times if known else dict.fromkeys(times))}}
        }
    _check_record(backend, data, _record(output, "b/c d"))
    _check_rows(backend, data, np.load(output / "f_rgb.npy"))

    before = contents(output)
    again = extract(backend, data, output)
    assert again.out == "extract_features: 0 done, 4 skipped, 0 failed, 93 frames, 9 rows\n"
    assert before == contents(output)


def check_others(backend: str, data: Path, output: Path) -> None:
    """The other ways, one after another in one folder; what was made before is made again."""
    (data / "list.txt").write_text("# one\nvideos/a.mp4\n")
    before: dict[str, str] = {}
    for way, (flags, spans, shape, names) in OTHERS.items():
        done = extract(backend, data, output, *flags, source="list.txt")
        replaced = " (1 in place of what was there)" * bool(before)
        assert done.out.startswith(f"extract_features: 1 done{replaced}, "), way + done.errors
        record = _record(output / "videos", "a")
        for path in names:
            (array,) = outputs.read(output / "videos" / path).values()
            assert (way, array.shape) == (way, (len(spans), *shape))
        for stream in record["arrays"].values():
            first, last = np.array(spans).T.tolist()
            assert (way, stream[""]["first"], stream[""]["last"]) == (way, first, last)
            start = record["start"] or 0
            assert stream[""]["end"] == [round(start + end / 25, 6) for end in last]
        before = record
    apart, joined = (
        np.concatenate([np.load(output / f"videos/{name}") for name in names], axis=-1)
        for *_, names in list(OTHERS.values())[-2:]
    )
    np.testing.assert_array_equal(apart, joined)
    assert [*record["arrays"]] == ["rgb+flow"]
    assert record["flow"]["parameters"]["warps"] == 1


def check_annotations(backend: str, data: Path, output: Path) -> None:
    """Clips and labelled spans of a data set; of a clip that is missing, the others are done."""
    actions = (Action(1, 0.0, 0.4), Action(0, 0.4, 1.2))
    records = (
        Record("b/c d", "b/c d.avi", "training", (0, 1), actions=actions),
        Record("cut", "b/c d.avi", "training", start=0.4, end=1.0),
        Record("gone", "gone.mp4", "training"),
    )
    annotation_files.write(data / "clips.json", Annotations(("sit", "stand up"), records))
    done = extract(backend, data, output / "clips", "--annotations=clips.json")
    assert done.status == 1
    assert done.out.startswith("extract_features: 2 done, 0 skipped, 1 failed")
    (entry,) = failed(output / "clips")
    assert (entry["item"], "there is no such file" in entry["reason"]) == ("gone", True)
    assert _record(output / "clips", "cut")["arrays"]["rgb"][""]["start"] == [0.4]

    done = extract(backend, data, output / "spans", "--annotations=clips.json", "--spans")
    assert done.status == 0, done.errors
    starts = {"000_stand_up": [0.0], "001_sit": [0.4, 0.76]}
    assert _files(output / "spans") == _made(
        [f"b/c d/{name}.{end}" for name in starts for end in ("npy", "json")]
    )
    for name, expected in starts.items():
        record = _record(output / "spans", f"b/c d/{name}")
        assert record["arrays"]["rgb"][""]["start"] == expected


def check_wrong(backend: str, data: Path, output: Path, case: str) -> None:
    """One line says what is wrong, and nothing is written."""
    flags, text = WRONG[case]
    source = next((f[8:] for f in flags if f.startswith("--input=")), "videos")
    done = extract(backend, data, output, *flags, source=source)
    assert (done.status, done.out) == (1, "")
    (error,) = [each for each in done.errors.splitlines() if each.startswith("error: ")]
    assert text in error
    assert not output.exists()


def check_failures(backend: str, data: Path, output: Path) -> None:
    """What fails does so alone: too short, an array with a span, damaged, a crop too large."""
    Film("short.mp4", 5, (1, 0)).write(data / "mixed")
    Film("whole.mp4", 20, (1, 0)).write(data / "mixed")
    np.save(data / "mixed/array.npy", np.zeros((1, 20, 40, 40, 3), np.float32))
    done = extract(backend, data, output, "--short=error", "--start=0", "--end=0.6", source="mixed")
    assert done.status == 1
    assert done.out.startswith("extract_features: 1 done, 0 skipped, 2 failed")
    of_array, of_short = failed(output)
    assert (of_array["item"], of_short["item"]) == ("array", "short")
    assert "array.npy: an array is taken as a whole" in of_array["reason"]
    assert "has 5 frames, and 9 are needed" in of_short["reason"]
    assert _files(output) == {*_made(["whole.npy", "whole.json"]), "failed.jsonl"}

    done = extract(backend, data, output, "--crop_size=64", "--allow_failures=3", source="mixed")
    assert (done.status, len(failed(output))) == (0, 3)
    assert "cannot cut 64x64 out of frames of 40x53" in done.out
    assert _record(output, "whole")["extraction"]["crop_size"] == 32  # of before

    path = torture.video(data / "damaged.mp4", range(0, 8000, 40), noise=True, movflags="faststart")
    torture.cut(path)
    done = extract(backend, data, output / "damaged", "--stride=1", source="damaged.mp4")
    assert done.status == 1
    assert "damaged at about 5" in done.out and "after 130 good frames" in done.out
    assert _files(output / "damaged") == {"failed.jsonl"}


def check_torture(backend: str, data: Path, videos: Path, output: Path) -> None:
    """Good videos are done, bad ones are named, and nothing is half there."""
    done = extract(backend, data, output, source=str(videos))
    assert done.status == 1
    assert done.out.startswith(
        "extract_features: 10 done, 0 skipped, 12 failed, 76 frames, 11 rows\n"
    )
    lines = failed(output)
    assert [entry["item"] for entry in lines] == sorted(torture.BAD)
    for entry in lines:
        suffix, reason = torture.BAD[entry["item"]]
        assert entry["source"] == str(videos / f"{entry['item']}.{suffix}")
        assert reason in entry["reason"]
    made = _made([f"{name}{end}" for name in torture.GOOD for end in (".npy", ".json")])
    assert _files(output) == {*made, "failed.jsonl"}
    for name, (count, _, _) in torture.GOOD.items():
        record = _record(output, name)
        assert record["frames"] == count
        assert np.load(output / f"{name}.npy").shape == (max(1, count // 9), WIDTH)
        assert record["arrays"]["rgb"][""]["last"] == [
            min(9 * k + 9, count) for k in range(max(1, count // 9))
        ]


def _check_record(backend: str, data: Path, record: dict[str, Any]) -> None:
    """What the rows were made with."""
    weights = f"sha256 {sha256('').of(data / 'rgb.safetensors')}"
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
    settings = {
        "mode": "segment", "window": 9, "stride": 9, "fps": 25, "short_side": 40, "crop_size": 32
    }  # fmt: skip
    assert record["extraction"].items() >= settings.items()
    assert {"python", "i3d", "numpy", "av"} < record["versions"].keys()
    named = (record["backend"], record["source"], record["frames"], record["flow"])
    assert named == (backend, "c d.avi", 33, None)


def _check_rows(backend: str, data: Path, rows: NDArray[np.float32]) -> None:
    """The rows of the array are what the network, called by hand, makes of its windows."""
    make: MakePredictor = importlib.import_module(f"{backend}.predictor").make_predictor
    model = models.load(data / "rgb.safetensors", "rgb")
    predictor = make(model, endpoints=["Features"], device="cpu")
    frames = np.rint((np.load(data / "videos/f_rgb.npy")[0] + 1) * np.float32(127.5))
    cropped = crops.center_crop(frames.astype(np.uint8), 32)
    found = predictor.features(np.stack([cropped[:9], cropped[9:18]]), "Features")
    np.testing.assert_allclose(rows, found.mean(axis=1), rtol=1e-3, atol=1e-5 * found.max())
    assert np.abs(rows[0] - rows[1]).max() > 0.01 * found.max()


def _record(output: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / f"{name}.json").read_text())
    return found


def _files(folder: Path) -> set[str]:
    """All files below, and folders in which there are none."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def _made(names: list[str]) -> set[str]:
    """Files and their markers."""
    paths = [Path(name) for name in names]
    return {*names, *((path.parent / f".{path.name}.done").as_posix() for path in paths)}
