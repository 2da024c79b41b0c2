"""What the command `extract_features` of either framework does when people run it."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arch, models
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
    "--streams=rgb,flow",
    "--rgb_checkpoint=rgb.safetensors",
    "--flow_checkpoint=flow.safetensors",
)

# By what is wrong: flags, and what the one line says.
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
    "a width alone": (["--video_w=40"], "--video_w and --video_h go together"),
    "a stride of dense": (["--mode=dense", "--stride=3"], "--stride is for --mode=segment"),
    "an empty batch": (["--batch_size=0"], "--batch_size must be auto or a number, not 0"),
    "spans without annotations": (["--spans"], "labelled spans are those of annotations"),
    "an end before the start": (["--start=2", "--end=1"], "the end must be after the start, 2"),
    "flow for nobody": (["--flow=flow"], "--flow is given, and flow is not among --streams"),
    "a span of whole flow": (
        ["--streams=flow", "--checkpoint=flow.safetensors", "--flow=flow", "--start=1"],
        "--start and --end: the flow of --flow is whole",
    ),
    "boxes of a part": (
        ["--input=videos/a.mp4", "--short_side=0", "--tracking_folder=tracks", "--end=1"],
        "a: expected whole videos with --tracking_folder",
    ),
    "boxes of nobody": (["--margin=0.1"], "--margin is for --tracking_folder"),
    "a flag of no command": (["--fsp=25"], "Unknown command line flag 'fsp'"),
}  # fmt: skip

# Other ways to extract: flags, and of a.mp4 what rows are of, what is said, and which files.
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
    "two streams": (
        [*TWO, "--tvl1=warps=1"], [[0, 9], [9, 18]], [WIDTH], ["a_rgb.npy", "a_flow.npy"]
    ),
    "two streams, joined": (
        [*TWO, "--tvl1=warps=1", "--join"], [[0, 9], [9, 18]], [2 * WIDTH], ["a.npy"]
    ),
}  # fmt: skip


def put(folder: Path) -> None:
    """Weights, and videos of 20 and 33 frames, 20 images and an array of as many frames."""
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


def extract(
    backend: str, data: Path, output: Path, *flags: str, source: str = "videos"
) -> subprocess.CompletedProcess[str]:
    """Extracts from the folder `data`, where `put` has put everything."""
    return forking.run(command(backend, source, output, *flags), data)


def command(backend: str, source: str | Path, output: Path, *flags: str) -> list[str]:
    """The command line."""
    weights = [] if any("_checkpoint=" in flag for flag in flags) else ["rgb.safetensors"]
    return [
        sys.executable, "-m", f"{backend}.extract_features", f"--input={source}",
        f"--output={output}", *SETTINGS, *(f"--checkpoint={each}" for each in weights), *flags,
    ]  # fmt: skip


def check_run(backend: str, data: Path, output: Path) -> None:
    """A folder with everything in it; what is done stays as it is."""
    done = subprocess.run(
        command(backend, "videos", output), cwd=data, env=forking.environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, _errors(done)) == (0, [])
    assert done.stdout == ("extract_features: 4 done, 0 skipped, 0 failed, 93 frames, 9 rows\n")
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

    before = _times(output)
    done = extract(backend, data, output)
    assert done.stdout == "extract_features: 0 done, 4 skipped, 0 failed, 93 frames, 9 rows\n"
    assert before == _times(output)


def check_others(backend: str, data: Path, output: Path) -> None:
    """The other ways, one after another in one folder; what was made before is made again."""
    (data / "list.txt").write_text("# one\nvideos/a.mp4\n")
    before: dict[str, str] = {}
    for way, (flags, spans, shape, names) in OTHERS.items():
        done = extract(backend, data, output, *flags, source="list.txt")
        replaced = " (1 in place of what was there)" * bool(before)
        assert done.stdout.startswith(f"extract_features: 1 done{replaced}, "), way + done.stderr
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
    assert (done.returncode, _errors(done)) == (1, [])
    assert done.stdout.startswith("extract_features: 2 done, 0 skipped, 1 failed")
    (line,) = failed(output / "clips")
    assert (line["item"], "there is no such file" in line["reason"]) == ("gone", True)
    assert _record(output / "clips", "cut")["arrays"]["rgb"][""]["start"] == [0.4]

    done = extract(backend, data, output / "spans", "--annotations=clips.json", "--spans")
    assert done.returncode == 0, done.stderr
    assert _files(output / "spans") == _made(
        [f"b/c d/{name}.{end}" for name in ("000_stand_up", "001_sit") for end in ("npy", "json")]
    )
    starts = {
        name: _record(output / "spans", f"b/c d/{name}")["arrays"]["rgb"][""]["start"]
        for name in ("000_stand_up", "001_sit")
    }
    assert starts == {"000_stand_up": [0.0], "001_sit": [0.4, 0.76]}


def check_wrong(backend: str, data: Path, output: Path, case: str) -> None:
    """One line says what is wrong, and nothing is written."""
    flags, text = WRONG[case]
    source = next((f[8:] for f in flags if f.startswith("--input=")), "videos")
    done = extract(backend, data, output, *flags, source=source)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    (line,) = _errors(done)
    assert text in line
    assert not output.exists()


def check_failures(backend: str, data: Path, output: Path) -> None:
    """What fails does so alone: a video that is too short, an array with a span, a large crop."""
    Film("short.mp4", 5, (1, 0)).write(data / "mixed")
    Film("whole.mp4", 20, (1, 0)).write(data / "mixed")
    np.save(data / "mixed/array.npy", np.zeros((1, 20, 40, 40, 3), np.float32))
    done = extract(backend, data, output, "--short=error", "--start=0", "--end=0.6", source="mixed")
    assert (done.returncode, _errors(done)) == (1, [])
    assert done.stdout.startswith("extract_features: 1 done, 0 skipped, 2 failed")
    of_array, of_short = failed(output)
    assert (of_array["item"], of_short["item"]) == ("array", "short")
    assert "array.npy: an array is taken as a whole" in of_array["reason"]
    assert "has 5 frames, and 9 are needed" in of_short["reason"]
    assert _files(output) == {*_made(["whole.npy", "whole.json"]), "failed.jsonl"}

    done = extract(backend, data, output, "--crop_size=64", "--allow_failures=3", source="mixed")
    assert (done.returncode, len(failed(output))) == (0, 3)
    assert "cannot cut 64x64 out of frames of 40x53" in done.stdout
    assert _record(output, "whole")["extraction"]["crop"] == 32  # of before


def check_damage(backend: str, data: Path, output: Path) -> None:
    """A video that fails in the middle: what it has left to compute does not abort the end."""
    path = torture.video(data / "damaged.mp4", range(0, 8000, 40), noise=True, movflags="faststart")
    torture.cut(path)
    done = extract(backend, data, output, "--stride=1", source="damaged.mp4")
    assert (done.returncode, _errors(done)) == (1, [])
    assert "damaged at about 5" in done.stdout
    assert "after 130 good frames" in done.stdout
    assert _files(output) == {"failed.jsonl"}


def check_torture(backend: str, data: Path, videos: Path, output: Path) -> None:
    """Good videos are done, bad ones are named, and nothing is half there."""
    done = extract(backend, data, output, source=str(videos))
    assert (done.returncode, _errors(done)) == (1, [])
    assert done.stdout.startswith(
        "extract_features: 10 done, 0 skipped, 12 failed, 76 frames, 11 rows\n"
    )
    lines = failed(output)
    assert [line["item"] for line in lines] == sorted(torture.BAD)
    for line in lines:
        suffix, reason = torture.BAD[line["item"]]
        assert line["source"] == str(videos / f"{line['item']}.{suffix}")
        assert reason in line["reason"]
    made = _made([f"{name}{end}" for name in torture.GOOD for end in (".npy", ".json")])
    assert _files(output) == {*made, "failed.jsonl"}
    for name, (count, _, _) in torture.GOOD.items():
        record = _record(output, name)
        assert record["frames"] == count
        assert np.load(output / f"{name}.npy").shape == (max(1, count // 9), WIDTH)
        assert record["arrays"]["rgb"][""]["last"] == [
            min(9 * k + 9, count) for k in range(max(1, count // 9))
        ]
    before = contents(output)
    done = extract(backend, data, output, source=str(videos))
    assert done.stdout.startswith("extract_features: 0 done, 10 skipped, 12 failed")
    assert before == contents(output)


def _check_record(backend: str, data: Path, record: dict[str, Any]) -> None:
    """What the rows were made with."""
    weights = f"sha256 {sha256('').of(data / 'rgb.safetensors')}"
    assert record["backend"] == backend
    assert record["streams"]["rgb"]["architecture"] == "inception_i3d_global"
    assert record["streams"]["rgb"]["weights"] == {"rgb.safetensors": weights}
    contract = contracts.of_stream("inception_i3d_global", "rgb")
    assert record["streams"]["rgb"]["contract"] == json.loads(json.dumps(vars(contract)))
    assert record["streams"]["rgb"]["endpoint"] == "Features"
    settings = {"mode": "segment", "window": 9, "stride": 9, "fps": 25, "resize": 40, "crop": 32}
    assert record["extraction"].items() >= settings.items()
    assert {"python", "i3d", "numpy", "av"} < record["versions"].keys()
    assert (record["source"], record["frames"], record["flow"]) == ("c d.avi", 33, None)


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


def _errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The errors among the lines of stderr, where TensorFlow has notes of its own."""
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


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


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
