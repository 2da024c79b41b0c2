"""From an item to rows, with a network of NumPy."""

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from common import arch, settings
from common.features.extract import _WHOLE, _RowMaker, extract
from common.features.settings import Settings
from common.jobs.task import Item

NET = arch.make("inception_i3d_global")


class Means:
    """A network whose rows are means of pixels."""

    stream, batch_size, endpoint = "rgb", 2, NET.head.features
    model = SimpleNamespace(net=NET, contract=SimpleNamespace(short_side=8))

    def __init__(self, given):
        self.settings = given

    def width(self):
        return 1

    def rows(self, clips):
        return clips.mean(axis=(1, 2, 3, 4), dtype=np.float64).astype(np.float32)[:, None, None]


def run(item, *flags):
    complete = ("--window=3", "--rate=1", "--fps=0", "--short_side=0", "--crop_size=6")
    given = settings.parse(Settings, [*complete, *flags])
    rows, frames, fps = extract(item, given, {"rgb": Means(given)})
    assert (frames, fps) == (7, 25)
    return rows["rgb"]


@pytest.fixture
def item(tmp_path):
    """Seven frames of 8x10, each of one level: 10, 20, ..."""
    levels = np.arange(10, 80, 10, dtype=np.float32)[None, :, None, None, None]
    clip = np.broadcast_to(levels / np.float32(127.5) - 1, (1, 7, 8, 10, 3))
    np.save(tmp_path / "a.npy", clip)
    return Item("a", tmp_path / "a.npy")


def test_rows_and_their_spans(item):
    found = run(item)[""]
    assert found.array.tolist() == [[20], [50]]
    assert found.spans.tolist() == [[0, 3], [3, 6]]
    found = run(item, "--mode=framewise", "--pad=rows")[""]  # the outermost rows again
    assert found.array.tolist() == [[20], [20], [30], [40], [50], [60], [60]]
    assert found.spans.tolist() == [[0, 3], [0, 3], [1, 4], [2, 5], [3, 6], [4, 7], [4, 7]]
    assert run(item, "--crops=ten")[""].array.shape == (2, 10, 1)
    assert run(item, "--crops=ten", "--average_crops")[""].array.tolist() == [[20], [50]]
    found = run(item, "--window=9", "--short=skip", "--crops=three")[""]
    assert (found.array.shape, found.spans.shape) == ((0, 3, 1), (0, 2))


def test_arrays_have_their_final_size(item):
    clip = np.random.default_rng(0).uniform(-1, 1, (1, 7, 8, 10, 3)).astype(np.float32)
    np.save(item.source, clip)
    centre = np.rint((clip[0, :, 1:7, 2:8] + 1) * np.float32(127.5))
    expected = [[centre[:3].mean(dtype=np.float64)], [centre[3:6].mean(dtype=np.float64)]]
    np.testing.assert_allclose(run(item, "--short_side=16")[""].array, expected, rtol=1e-6)


@pytest.mark.parametrize("flags", [(), ("--mode=framewise",), ("--mode=dense", "--chunk=160")])
def test_memory_does_not_grow(item, flags):
    """Of 2000 frames of 4 kB no more are held than those of a window, or of a chunk."""
    given = settings.parse(Settings, ["--window=9", "--crop_size=64", *flags])
    network = Means(given)
    network.endpoint = "Mixed_5c"
    maker = _RowMaker(network, _WHOLE, 2000 if "--mode=dense" in flags else None)
    tracemalloc.start()
    for number in range(2000):
        maker.push(number, np.full((64, 64, 1), number % 256, np.uint8))
    maker.end(2000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4096 * 1000


def test_rows_must_be_finite(item, monkeypatch):
    monkeypatch.setattr(Means, "rows", lambda _, clips: np.full((len(clips), 1, 1), np.nan))
    with pytest.raises(ValueError, match="features are not finite"):
        run(item)


def tracks(item, box=(2, 1, 6, 5), **frames):
    """A folder with tracklets; each is on a 4x4 square on some frames."""
    content = {who: {str(k): box for k in at} for who, at in frames.items()}
    (item.source.parent / "a.json").write_text(json.dumps(content))
    return f"--tracking_folder={item.source.parent}"


def test_individuals_have_rows_of_their_frames(item):
    found = run(item, tracks(item, anna=range(7), bert=range(2, 6)))
    assert [*found] == ["anna", "bert"]
    assert found["anna"].array.tolist() == [[20], [50]]
    assert found["bert"].array.tolist() == [[40]]
    assert found["bert"].spans.tolist() == [[2, 5]]


def test_tracklets_of_another_video_are_named(item):
    with pytest.raises(ValueError, match=r"individual 'x' is on frame 8 \(0-based\), and the vid"):
        run(item, tracks(item, x=range(3, 9)))
    with pytest.raises(ValueError, match=r"individual 'x', frame 0: expected a box .* 8x10"):
        run(item, tracks(item, (12, 1, 16, 5), x=range(3)))
    with pytest.raises(FileNotFoundError, match=r"a_tracks\.json: there is no such file"):
        run(item, tracks(item), "--tracking_suffix=_tracks.json")
    with pytest.raises(ValueError, match=r"individual 'x' has 2 frames, and 3 are needed"):
        run(item, tracks(item, x=range(2)), "--short=error")
