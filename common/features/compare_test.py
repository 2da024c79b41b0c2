"""Two files of features, held against each other."""

import numpy as np
import pytest

from common import command
from common.features.compare import MOST_SHIFT, Settings, agreement, compare, main


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def saved(folder, name, array):
    path = folder / name
    (np.savez(path, **array) if isinstance(array, dict) else np.save(path, array))
    return str(path)


def test_differences_are_measured():
    a = np.array([[3, 4], [1, 0], [0, -5]], np.float32)
    b = np.array([[6, 8], [0, 1], [0, -5.5]], np.float32)
    got = agreement(a, b)
    assert got.mean == pytest.approx(2 / 3) and got.least == 0
    assert got.absolute == 4 and got.relative == pytest.approx(4 / 5)


def test_cosines_are_of_each_crop():
    a = random(5, 10, 8)
    b = a.copy()
    b[3, 7] *= -1
    got = agreement(a, b)
    assert got.least == pytest.approx(-1) and got.mean == pytest.approx(1 - 2 / 50)


def test_rows_of_zeros_are_like_one_another_only():
    a, b = np.zeros((3, 2)), np.zeros((3, 2))
    b[2] = 1
    got = agreement(a, b)
    assert got.mean == pytest.approx(2 / 3) and got.least == 0
    assert got.absolute == 1 and got.relative == np.inf
    assert agreement(a, a).relative == 0


@pytest.mark.parametrize("shift", [-3, 0, 2, MOST_SHIFT])
def test_the_shift_is_found(shift):
    whole = random(300, 8)
    a, b = whole[64:264], whole[64 - shift : 264 - shift]
    got = agreement(a, b)
    assert got.shift == shift and got.shifted == pytest.approx(1, abs=1e-6)
    assert (got.mean < 0.5) == (shift != 0)


def test_the_shift_of_a_shorter_one_is_found_and_leaves_half_of_the_rows():
    whole = random(60, 8)
    assert agreement(whole[7:17], whole)[-2] == 7
    assert agreement(whole, whole[7:17])[-2] == -7
    a, b = random(9, 8), random(9, 8, seed=1)
    assert agreement(a, np.concatenate([a[4:], b[:4]])).shift == -4
    b[0] = a[8]  # one row alone fits
    assert abs(agreement(a, b).shift) <= 4


def test_a_shift_that_is_as_good_is_none():
    assert agreement(np.ones((30, 4)), np.ones((30, 4))).shift == 0
    turning = np.tile(np.eye(4), (10, 1))  # every fourth row is the same
    assert agreement(turning, turning).shift == 0
    assert agreement(turning, np.roll(turning, 1, axis=0)).shift == 1


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (random(5, 10, 8), random(5, 8), r"rows of one size.*\[5, 10, 8\] in A, \[5, 8\] in B"),
        (random(0, 8), random(5, 8), "at least one"),
        (np.array(["x"]), random(1), "expected numbers. Received: <U1 in A"),
        (random(2), np.array([1, np.nan]), "finite numbers. Received: 1 others in B"),
    ],
)
def test_what_cannot_be_compared_is_said(a, b, text):
    with pytest.raises(ValueError, match=text):
        agreement(a, b)


@pytest.mark.parametrize("shape", [(1, 20, 1, 1, 8), (20, 1, 8), (20, 8, 1, 1)])
def test_axes_of_size_1_are_dropped(tmp_path, shape):
    a = random(20, 8)
    one, two = saved(tmp_path, "a.npy", a), saved(tmp_path, "b.npz", {"x": a.reshape(shape)})
    assert compare(one, two) == (
        f"A: {one}: arrays: 1\nB: {two}: arrays: 1\nfeatures: [20, 8] and {list(shape)}: 20 rows, "
        "mean cosine 1.000000, least 1.000000, largest difference 0 (0 of the largest value in A)",
        True,
    )
    assert agreement(a[0], a[:1]).rows == agreement(a[0], a[:1, None]).rows == 1


def test_individuals_are_compared_by_name_the_worst_first(tmp_path):
    a = {"7": random(5, 8), "8": random(6, 8, seed=1), "9": random(2, 8), "x": random(5, 8)}
    b = {8: a["8"] * 2, 7: -a["7"], "\x1b[2J": a["9"], "x": random(5, 9)}
    np.save(tmp_path / "b.npy", np.array(b, object))
    text, comparable = compare(saved(tmp_path, "a.npz", a), str(tmp_path / "b.npy"))
    assert not comparable
    lines = text.splitlines()
    assert lines[0].endswith("a.npz: arrays: 4")
    assert lines[2:4] == ["only in A: 9", r"only in B: \x1b[2J"]
    assert lines[4].startswith("x: [5, 8] and [5, 9]: expected rows of one size")
    assert lines[5].startswith("7: [5, 8] and [5, 8]: 5 rows, mean cosine -1.0")
    assert lines[6].startswith("8: [6, 8] and [6, 8]: 6 rows, mean cosine 1.0")
    assert lines[6].endswith("(1 of the largest value in A)")


def test_a_long_report_is_cut(tmp_path):
    a = {str(k): random(5, 8, seed=k) for k in range(25)}
    text, _ = compare(*[saved(tmp_path, "a.npz", a)] * 2)
    assert text.splitlines()[-1] == "and 5 more that agree better"


def test_the_status_is_1_only_where_nothing_can_be_compared(tmp_path, capsys):
    whole = random(9, 5)
    a, b = saved(tmp_path, "a.npy", whole[3:]), saved(tmp_path, "b.npy", whole)
    c = saved(tmp_path, "c.npz", {"x": whole, "y": whole})
    assert command.call(main, Settings, [a, b]) == 0
    shown = "; row i of A and row i+3 of B: mean cosine 1.000000\n"
    assert capsys.readouterr().out.endswith(shown)
    assert command.call(main, Settings, [a, c]) == 1
    assert "no array of A has the name of one of B" in capsys.readouterr().out
    assert command.call(main, Settings, [a, str(tmp_path / "no.npy")]) == 1
    assert "no.npy: there is no such file" in capsys.readouterr().err
    assert command.call(main, Settings, [a]) == 1
    assert "two files of features" in capsys.readouterr().err
