from pathlib import Path

import numpy as np
import pytest

from common.fvd import clips
from common.fvd.clips import ArrayVideo, Sampling
from common.settings import UsageError
from common.testing.films import Film


def video(count):
    """Every pixel of frame k is k."""
    shades = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return ArrayVideo(Path("a.npy"), np.broadcast_to(shades, (count, 2, 3, 3)))


def taken(count, name="a", **how):
    return [clip[:, 0, 0, 0].tolist() for clip in Sampling(**how).of_video(video(count), name)]


def run(start, frames, stride=1):
    return [start + stride * k for k in range(frames)]


@pytest.mark.parametrize(
    ("how", "starts"),
    [
        ({}, [0]),
        ({"clips_per_video": "3"}, [0, 16, 32]),
        ({"clips_per_video": "all"}, [0, 16, 32]),
        ({"sampling": "uniform"}, [17]),
        ({"sampling": "uniform", "clips_per_video": "2"}, [8, 25]),
        ({"frames": 9, "stride": 3}, [0]),
        ({"frames": 9, "stride": 3, "clips_per_video": "all"}, [0, 25]),
    ],
)
def test_which_clips_are_taken(how, starts):
    frames, stride = how.get("frames", 16), how.get("stride", 1)
    assert taken(50, **how) == [run(start, frames, stride) for start in starts]


def test_random_clips_depend_on_seed_and_name_alone():
    how = {"sampling": "random", "clips_per_video": "4"}
    found = taken(50, **how)
    assert found == taken(50, **how)
    assert found != taken(50, name="b", **how) and found != taken(50, seed=1, **how)
    starts = {k for seed in range(40) for k, *_ in taken(20, seed=seed, **how)}
    assert starts == {0, 1, 2, 3, 4}
    assert all(clip == run(clip[0], 16) for clip in found)


@pytest.mark.parametrize(
    ("count", "how"),
    [
        (15, {}), (15, {"sampling": "random"}), (15, {"clips_per_video": "all"}),
        (47, {"clips_per_video": "3"}), (30, {"stride": 2}),
    ],
)  # fmt: skip
def test_too_short_videos_are_an_error(count, how):
    with pytest.raises(ValueError, match=rf"too short\. Expected .* frames .* Received: {count}\."):
        taken(count, **how)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"frames": 8}, "at least 9 are needed, because the network's last pool"),
        ({"clips_per_video": "0"}, "expected all or a number above 0"),
        ({"fps": "fast"}, "expected source or a number"),
        ({"clips_per_video": "all", "sampling": "random"}, "does not go with"),
        ({"clips_per_video": "3", "clips": 10}, "multiple"),
    ],
)
def test_senseless_sampling_is_refused(how, said):
    with pytest.raises(UsageError, match=said):
        Sampling(**how)


def test_videos_and_arrays_are_found_and_read(tmp_path):
    Film("one.mp4", 40, (1, 0)).write(tmp_path)
    np.save(tmp_path / "many.npy", np.zeros((3, 20, 8, 8, 3), np.uint8))
    found = clips.find(tmp_path, Sampling())
    assert [each.name for each in found] == ["many[0]", "many[1]", "many[2]", "one"]
    assert [each.decoded for each in found] == [False, False, False, True]
    assert [len(each.open()) for each in found] == [20, 20, 20, 40]
    np.savez(tmp_path / "few.npz", np.ones((1, 20, 8, 8, 3), np.uint8))
    assert [each.name for each in clips.find(tmp_path / "few.npz", Sampling())] == ["few.npz[0]"]
    half = clips.find(tmp_path / "one.mp4", Sampling(fps="12.5"))[0].open()
    assert (len(half), half.rate) == (20, 12.5)


def test_so_many_clips_are_spread_over_the_list(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((10, 16, 4, 4, 3), np.uint8))
    found = clips.find(tmp_path / "a.npy", Sampling(clips=4))
    assert [each.name for each in found] == ["a[0]", "a[2]", "a[5]", "a[7]"]
    with pytest.raises(ValueError, match=r"too few videos for 2,048 clips.*Received: 10\."):
        clips.find(tmp_path / "a.npy", Sampling(clips=2048))


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 20, 8, 8, 3)), np.zeros((20, 8, 8, 3), np.uint8), np.array({"a": 1}, object)],
)
def test_other_arrays_are_refused(array, tmp_path):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy: expected"):
        clips.find(tmp_path / "a.npy", Sampling())
    (tmp_path / "b.npz").write_bytes(b"PK text")
    with pytest.raises(ValueError, match=r"b\.npz: expected one array"):
        clips.find(tmp_path / "b.npz", Sampling())


def test_reading_ahead_gives_every_clip_and_every_error_once():
    def broken():
        raise OSError("gone")

    listed = [clips.Listed(str(k), lambda k=k: video(16 * (k + 1))) for k in range(5)]
    listed[3] = clips.Listed("3", broken)
    how = Sampling(clips_per_video="all")
    found = list(clips.read_ahead(listed, [0, 1, 2, 3], how, lambda clip, _: clip[0, 0, 0, 0], 2))
    assert [item for item in found if item[0] == 1] == [(1, 0), (1, 16), (1, None)]
    assert sorted(number for number, _ in found) == [0, 0, 1, 1, 1, 2, 2, 2, 2, 3]
    assert [str(error) for number, error in found if number == 3] == ["gone"]
