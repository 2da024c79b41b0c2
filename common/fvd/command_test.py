"""The command with a network that is quickly computed; the real ones are in `parity_tests`."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from common import arch, command, settings
from common.fvd import clips, merge, metric, statistics, stream
from common.fvd import command as fvd
from common.fvd.recipes import RECIPES
from common.testing import predictor

NET = arch.narrow(arch.inception_i3d(6), 64)
MODEL = predictor.make_model(NET, {"weights": np.ones(3, np.float32)})


def scores(clips, prepared):
    """Means of six parts of a clip, whatever its size; [B, 6]."""
    assert prepared and clips.dtype == np.float32 and clips.shape[2:] == (224, 224, 3)
    halves = clips.reshape(*clips.shape[:2], 2, 112, 224, 3).mean(axis=(1, 3, 4))
    return 9 * halves.reshape(len(clips), 6)


def make(model, *, endpoints=(), device="auto", precision="float32"):
    return SimpleNamespace(scores=scores, on_gpu=False)


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setattr(metric, "load", lambda checkpoint, architecture=None: MODEL)


@pytest.fixture
def sets(tmp_path):
    rng = np.random.default_rng(7)
    for name, count, high in (("real", 12, 256), ("fake", 9, 200)):
        base = rng.integers(0, high, (count, 1, 4, 5, 3))
        moving = base * rng.uniform(0.5, 1, (1, 18, 1, 1, 1))
        np.save(tmp_path / f"{name}.npy", moving.astype(np.uint8))
    return tmp_path


def run(capsys, *flags):
    """The status, and what was printed."""
    main = lambda settings: fvd.run(settings, make, "i3d_torch")  # noqa: E731
    status = command.call(main, fvd.Settings, list(flags))
    return status, *capsys.readouterr()


def both(sets):
    return [f"--{side}={sets / side}.npy" for side in ("real", "fake")]


def expected(sets, recipe, frames=16):
    sides = []
    for name in ("real", "fake"):
        found = statistics.Statistics({})
        shown = [recipe.prepare(clip[:frames]) for clip in np.load(sets / f"{name}.npy")]
        found.add(scores(np.stack(shown), True))
        sides.append(found)
    return metric.distance.frechet(*sides, recipe)


def test_one_value(sets, capsys):
    status, out, _ = run(capsys, *both(sets), f"--output={sets}/out.json")
    value = expected(sets, RECIPES["google"])
    lines = out.splitlines()
    assert status == 0 and lines[0] == f"FVD {value:.4f}"
    assert lines[1].startswith("Warning: fewer than 256 clips")
    assert re.fullmatch(
        rf"FVD {value:.2f}: recipe google, 12 real and 9 generated clips, 16 frames, 1 clip a video"
        r" from the first frame, source frame rate, I3D rgb_scratch \(sha256 [0-9a-f]{12}\), .*\.",
        lines[-1],
    )
    found = json.loads((sets / "out.json").read_text())
    assert found["fvd"] == pytest.approx(value, rel=1e-12)
    assert found["clips"] == {"real": 12, "fake": 9} and found["line"] == lines[-1]
    assert found["details"]["eps"] == 1e-3 and found["sampling"] == "first"


def test_all_recipes_and_numbers_of_frames(sets, capsys):
    for name in ("real", "fake"):
        np.save(sets / f"{name}.npy", np.load(sets / f"{name}.npy")[:3, :11])
    status, out, _ = run(capsys, *both(sets), "--recipe=all", "--frames=9")
    rows = [line.split() for line in out.splitlines()[1:8]]
    assert status == 0 and [row[0] for row in rows] == [*RECIPES]
    for name, frames, value, *mark in rows:
        assert (frames, float(value)) == ("9", round(expected(sets, RECIPES[name], 9), 4))
        assert bool(mark) == (name == "styleganv")
    _, out, _ = run(capsys, *both(sets), "--recipe=tats", "--per_frames=9:11")
    rows = [line.split() for line in out.splitlines()[1:4]]
    values = [round(expected(sets, RECIPES["tats"], frames), 4) for frames in (9, 10, 11)]
    assert [(row[1], float(row[2])) for row in rows] == [
        (str(frames), value) for frames, value in zip((9, 10, 11), values, strict=True)
    ]


def test_kept_features_say_how_sure_it_is(sets, capsys):
    picture = sets / "a.png"
    status, out, _ = run(capsys, *both(sets), "--keep_features", f"--plot={picture}")
    assert status == 0 and picture.read_bytes().startswith(b"\x89PNG")
    assert "95 % interval:" in out and "KVD " in out and "at infinitely many clips:" in out


def test_shards_merged_are_the_whole_bit_for_bit(sets, capsys):
    real, whole = f"--real={sets}/real.npy", sets / "whole.safetensors"
    assert run(capsys, real, f"--save_real={whole}", "--keep_features")[:2] == (
        0,
        "real: 12 clips\n",
    )
    parts = [f"{sets}/{k}.safetensors" for k in (1, 2, 3)]
    for k, part in enumerate(parts, 1):
        flags = f"--save_real={part}", f"--shard={k}/3", "--keep_features", "--batch_size=3"
        assert run(capsys, real, *flags)[0] == 0
    merged = sets / "merged.safetensors"
    given = [f"--output={merged}", *parts]
    assert command.call(merge.main, merge.Settings, given) == 0
    assert "12 clips of 3 files" in capsys.readouterr().out
    assert merged.read_bytes() == whole.read_bytes()
    _, out, _ = run(capsys, f"--real={merged}", f"--fake={sets}/fake.npy")
    assert out.startswith(f"FVD {expected(sets, RECIPES['google']):.4f}\n")
    assert command.call(merge.main, merge.Settings, given) == 1  # it stays
    assert "--overwrite" in capsys.readouterr().err


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(sets, capsys, monkeypatch):
    real, whole = f"--real={sets}/real.npy", sets / "whole.safetensors"
    run(capsys, real, f"--save_real={whole}")
    monkeypatch.setattr(stream, "_EVERY", 0.0)
    asked, usual = [], scores

    def dying(batch, prepared):
        asked.append(len(batch))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return usual(batch, prepared)

    output = sets / "out.safetensors"
    flags = real, f"--save_real={output}", "--batch_size=2"
    monkeypatch.setitem(globals(), "scores", dying)
    assert run(capsys, *flags)[0] == 1
    assert not output.exists() and (sets / ".out.safetensors.partial").exists()
    monkeypatch.undo()
    monkeypatch.setattr(metric, "load", lambda checkpoint, architecture=None: MODEL)
    read = []
    monkeypatch.setattr(
        clips.Sampling, "of_video",
        lambda self, video, name, old=clips.Sampling.of_video: (
            read.append(name) or old(self, video, name)
        ),
    )  # fmt: skip
    assert run(capsys, *flags)[0] == 0
    assert len(read) < 12 and output.read_bytes() == whole.read_bytes()
    assert not (sets / ".out.safetensors.partial").exists()


def test_a_foreign_file_in_the_snapshots_place_stays(sets, capsys):
    (sets / ".out.safetensors.partial").write_text("mine")
    status, _, err = run(capsys, f"--real={sets}/real.npy", f"--save_real={sets}/out.safetensors")
    assert status == 1 and ".out.safetensors.partial: " in err
    assert (sets / ".out.safetensors.partial").read_text() == "mine"


def test_other_statistics_are_refused(sets, capsys):
    for name, flag in (("a", "--recipe=tats"), ("b", "--sampling=uniform"), ("c", "--frames=9")):
        path = sets / f"{name}.safetensors"
        run(capsys, f"--real={sets}/real.npy", f"--save_real={path}", flag)
        status, _, err = run(capsys, f"--real={path}", f"--fake={sets}/fake.npy")
        field = flag.strip("-").partition("=")[0]
        assert status == 1 and f"made in different ways: {field} " in err


def test_videos_that_cannot_be_read(sets, capsys):
    folder = sets / "set"
    folder.mkdir()
    np.save(folder / "a.npy", np.load(sets / "real.npy")[:5])
    np.save(folder / "b.npy", np.load(sets / "real.npy")[5:, :10])
    flags = f"--real={folder}", f"--fake={sets}/fake.npy"
    status, _, err = run(capsys, *flags)
    assert status == 1 and "b[" in err and "too short. Expected 16 frames" in err
    status, out, err = run(capsys, *flags, "--allow_failures=7")
    assert status == 0 and "5 real and 9 generated clips" in out
    status, _, err = run(capsys, *flags, "--protocol=fvd2048_16f")
    assert status == 1 and "too few videos for 2,048 clips" in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--real is needed"),
        (["--real=a.npy"], "--real is needed, and --fake"),
        (["--real=a", "--fake=b", "--frames=8"], "at least 9 are needed"),
        (["--real=a", "--fake=b", "--per_frames=5:20"], "from 9 on"),
        (["--real=a", "--fake=b", "--shard=3/2"], "expected I/N"),
        (["--real=a", "--fake=b", "--shard=1/2"], "--shard is for --save_real"),
        (["--real=a.safetensors", "--fake=b", "--recipe=all"], "do not go with files"),
        (["--real=a", "--fake=b", "--plot=a.png"], "--plot needs --keep_features"),
        (["--real=a", "--fake=b", "--save_fake=a.txt"], "--save_fake needs videos"),
        (["--real=a", "--fake=b", "--recipe=mine"], "should be one of <google|"),
        (["--real=none", "--fake=b"], "no such file or folder"),
    ],
)
def test_senseless_flags_are_one_clear_line(flags, said, capsys):
    status, out, err = run(capsys, *flags)
    assert (status, out) == (1, "") and said in err and err.count("\n") == 1


def test_the_names_of_styleganv():
    for protocol, frames, stride in (("128f", 128, 1), ("128f_subsample8f", 16, 8)):
        given = ["--real=a", "--fake=b", f"--protocol=fvd2048_{protocol}", "--seed=4"]
        found = settings.parse(fvd.Settings, given).sampling
        assert (found.frames, found.stride, found.clips, found.seed) == (frames, stride, 2048, 4)
