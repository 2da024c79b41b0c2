"""From an item to rows, with a network of NumPy."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from common import arch, settings
from common.features.extract import extract
from common.features.settings import Settings
from common.jobs.task import Item

NET = arch.make("inception_i3d_global")


class Means:
    """A network whose rows are means of pixels."""

    net, short_side, crop_size, width = NET, 8, 6, 1

    def __init__(self, given, size=2):
        self.source = SimpleNamespace(settings=given, endpoint=NET.head.features, batch_size=size)

    def rows(self, clips):
        return clips.mean(axis=(1, 2, 3, 4), dtype=np.float64).astype(np.float32)[:, None, None]


def run(item, *flags):
    complete = ("--window=3", "--rate=1", "--fps=0", "--short_side=0", "--crop_size=6")
    given = settings.parse(Settings, [*complete, *flags], "extract_features")
    return extract(item, given, {"rgb": Means(given)})


@pytest.fixture
def item(tmp_path):
    """Seven frames of 8x10, each of one level: 10, 20, ..."""
    levels = np.arange(10, 80, 10, dtype=np.float32)[None, :, None, None, None]
    clip = np.broadcast_to(levels / np.float32(127.5) - 1, (1, 7, 8, 10, 3))
    np.save(tmp_path / "a.npy", clip)
    return Item("a", tmp_path / "a.npy")


def test_rows_and_spans(item):
    rows, frames, fps = run(item)
    assert (frames, fps) == (7, 25)
    assert rows["rgb"][""].array.tolist() == [[20], [50]]
    assert rows["rgb"][""].spans.tolist() == [[0, 3], [3, 6]]


def test_outer_rows_are_repeated(item):
    found = run(item, "--mode=framewise", "--pad=rows").rows["rgb"][""]
    assert found.array.tolist() == [[20], [20], [30], [40], [50], [60], [60]]
    assert found.spans.tolist() == [[0, 3], [0, 3], [1, 4], [2, 5], [3, 6], [4, 7], [4, 7]]


def test_crops_are_an_axis_or_averaged(item):
    assert run(item, "--crops=ten").rows["rgb"][""].array.shape == (2, 10, 1)
    average = run(item, "--crops=ten", "--average_crops").rows["rgb"][""]
    assert average.array.tolist() == [[20], [50]]


def test_a_video_without_rows_has_empty_ones(item):
    found = run(item, "--window=9", "--short=skip", "--crops=three").rows["rgb"][""]
    assert (found.array.shape, found.spans.shape) == ((0, 3, 1), (0, 2))


def tracks(item, **frames):
    """A folder with tracklets; each is on a 4x4 square on some frames."""
    content = {who: {str(k): [2, 1, 6, 5] for k in at} for who, at in frames.items()}
    (item.source.parent / "a.json").write_text(json.dumps(content))
    return f"--tracking_folder={item.source.parent}"


def test_individuals_have_rows_of_their_frames(item):
    found = run(item, tracks(item, anna=range(7), bert=range(2, 6))).rows["rgb"]
    assert [*found] == ["anna", "bert"]
    assert found["anna"].array.tolist() == [[20], [50]]
    assert found["bert"].array.tolist() == [[40]]
    assert found["bert"].spans.tolist() == [[2, 5]]


def test_tracklets_of_another_video_are_named(item):
    with pytest.raises(ValueError, match=r"a\.json: tracklet 'x' is on frame 8 \(0-based\), and"):
        run(item, tracks(item, x=range(3, 9)))
    folder = tracks(item, x=range(3))
    path = item.source.parent / "a.json"
    path.write_text(path.read_text().replace("[2, 1, 6, 5]", "[12, 1, 16, 5]"))
    with pytest.raises(ValueError, match=r"a\.json: tracklet 'x', frame 0: expected a box .* 8x10"):
        run(item, folder)
    with pytest.raises(FileNotFoundError, match=r"a_tracks\.json: there is no such file"):
        run(item, folder, "--tracking_suffix=_tracks.json")
