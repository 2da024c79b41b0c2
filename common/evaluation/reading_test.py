"""Views in order, whatever the number of threads; frames read once; errors that name the video."""

import threading

import numpy as np
import pytest

from common.evaluation import reading
from common.evaluation.protocols import Protocol
from common.testing.readers import MadeUp, record

TOTALS = {"a": 10, "b": 3, "c": 7}
RECORDS = [record(name) for name in TOTALS]
SLIDING = Protocol(
    "s", "us", "sliding", frames=4, rate=1, stride=2, crops="three", short_side=6, crop=6
)


def _parts(reader, protocol=SLIDING, records=RECORDS, at_once=6, workers=0, stream="rgb"):
    return list(reading.parts(records, reader, protocol, stream, at_once, workers))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())  # a progress bar of another test may have one
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_views_come_in_order_with_any_number_of_threads(workers):
    found = _parts(MadeUp(TOTALS), workers=workers)
    assert [part.item for part in found] == [0, 0, 0, 1, 2, 2]
    starts = [view.indices[0] for part in found for view in part.views[::3]]
    assert starts == [0, 2, 4, 6, 8, 0, 0, 2, 4]
    for part in found:
        assert part.total == TOTALS[RECORDS[part.item].name]
        for view in part.views:
            assert view.clip.shape == (4, 6, 6, 3)
            assert view.clip.dtype == np.uint8
            np.testing.assert_array_equal(view.clip[:, 0, 0, 0], view.indices)


def test_frames_that_windows_share_are_read_once():
    reader = MadeUp(TOTALS)
    _parts(reader, records=RECORDS[:1], at_once=100)
    assert reader.asked == [("a", tuple(range(10)))]
    reader = MadeUp(TOTALS)
    _parts(reader, records=RECORDS[:1], at_once=6)
    assert reader.asked == [("a", (0, 1, 2, 3, 4, 5)), ("a", (4, 5, 6, 7, 8, 9)), ("a", (8, 9))]


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_views_are_those_of_their_window(workers):
    def views(at_once, shuffle=True):
        parts = reading.parts(RECORDS, MadeUp(TOTALS), SLIDING, "rgb", at_once, workers, shuffle)
        return [(part.item, view) for part in parts for view in part.views]

    few, many, straight = views(3), views(100), views(3, shuffle=False)
    orders = set()
    for (_, one), (_, other), (_, usual) in zip(few, many, straight, strict=True):
        assert one.indices == other.indices
        assert sorted(one.indices) == sorted(usual.indices)
        np.testing.assert_array_equal(one.clip, other.clip)
        np.testing.assert_array_equal(one.clip[:, 0, 0, 0], one.indices)
        orders.add(tuple(np.argsort(one.indices, kind="stable")))
    assert [item for item, _ in few] == [item for item, _ in straight]
    assert len(orders) > 4  # each window of each video in another order
    assert all(few[k][1].indices == few[k + 1][1].indices for k in range(0, len(few), 3))  # crops


def test_crops_are_cut_from_the_resized_picture():
    class Ramp(MadeUp):
        def read(self, record, indices, stream):
            columns = np.arange(16, dtype=np.uint8) * 10
            return np.broadcast_to(columns[None, None, :, None], (len(indices), 12, 16, 3)).copy()

    part = _parts(Ramp({"a": 4}), records=RECORDS[:1], at_once=100)[0]
    firsts = [view.clip[0, 0, :, 0].tolist() for view in part.views[:3]]
    assert firsts[0][0] == 5  # half the size: between columns 0 and 1
    assert firsts[1] == [25, 45, 65, 85, 105, 125]
    assert firsts[2] == [45, 65, 85, 105, 125, 145]


def test_flow_is_resized_with_its_vectors():
    found = _parts(MadeUp({"a": 4}), records=RECORDS[:1], stream="flow")
    clip = found[0].views[0].clip
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip[:, 2, 2, 0], np.arange(4) / 200, rtol=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_an_error_of_its_video(workers):
    found = _parts(MadeUp({"a": 10, "c": 7}, broken={"a": 9}), workers=workers)
    assert [(part.item, part.error) for part in found] == [
        (0, ""),
        (0, "a: damaged."),
        (0, "a: damaged."),
        (1, "b: there is nothing."),
        (2, ""),
        (2, ""),
    ]
    found = _parts(MadeUp({"a": 0}), records=RECORDS[:1])
    assert found[0].error.startswith("total must be at least 1")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bug_is_no_failure_of_a_video_and_leaves_no_thread(workers):
    class Buggy(MadeUp):
        def read(self, record, indices, stream):
            raise KeyError("x")

    with pytest.raises(KeyError):
        _parts(Buggy(TOTALS), workers=workers)


def test_reading_ahead_is_bounded():
    class Counting(MadeUp):
        def count(self, record, stream):
            counted.append(record.name)
            return super().count(record, stream)

    counted = []
    reader = Counting({f"v{i}": 4 for i in range(50)})
    records = [record(f"v{i}") for i in range(50)]
    parts = reading.parts(records, reader, SLIDING, "rgb", 6, 2)
    next(parts)
    parts.close()
    assert len(reader.asked) <= 4
    assert len(counted) <= 8
