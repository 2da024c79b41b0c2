import json
import pickle

import numpy as np
import pytest

from common import models
from common.fvd import statistics
from common.fvd.statistics import Statistics

MADE = {"recipe": "google", "weights": "ab", "frames": 16, "sampling": "first"}
ROWS = np.random.default_rng(3).normal(0, 5, (500, 12)).astype(np.float32)


def make(rows, made=MADE, keep=False, batch=7):
    found = Statistics(made, keep)
    for start in range(0, len(rows), batch):
        found.add(rows[start : start + batch])
    return found


def test_mean_and_covariance():
    found = make(ROWS)
    doubles = ROWS.astype(np.float64)
    np.testing.assert_allclose(found.mean, doubles.mean(axis=0), atol=2**-25)
    for ddof in (0, 1):
        expected = np.cov(doubles, rowvar=False, ddof=ddof)
        np.testing.assert_allclose(found.covariance(ddof), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("keep", [False, True])
def test_any_order_and_any_shards_give_the_same_bytes(keep, tmp_path):
    make(ROWS, keep=keep).write(tmp_path / "whole.safetensors", versions={"numpy": "1"})
    order = np.random.default_rng(0).permutation(len(ROWS))
    parts = []
    for shard in range(3):
        path = tmp_path / f"{shard}.safetensors"
        make(ROWS[order[shard::3]], keep=keep, batch=shard + 1).write(path)
        parts.append(statistics.read(path)[0])
    total = parts.pop()
    total.merge(*parts)
    total.write(tmp_path / "merged.safetensors", versions={"numpy": "1"})
    whole, merged = (tmp_path / f"{name}.safetensors" for name in ("whole", "merged"))
    assert whole.read_bytes() == merged.read_bytes()
    if keep:
        assert {*map(bytes, total.features)} == {*map(bytes, ROWS)}


def test_values_near_the_bound_stay_exact():
    rows = np.random.default_rng(1).choice(np.float32([255.99998, -255.99998]), (999, 3))
    rows[:, 2] = 2.0**-24
    found = make(rows)
    total = sum(int(x * 2**24) for x in rows[:, 0])
    square = sum(int(x * 2**24) ** 2 for x in rows[:, 0])
    assert found.total.tolist()[0] == total / 2**24
    products = found.moments[0] + (found.moments[1] + found.moments[1].T) + found.moments[2]
    assert products[0, 0] == square / 2**48
    assert products[2, 2] == 999 * 2.0**-48


@pytest.mark.parametrize("value", [np.nan, np.inf, 256.0, -300.0])
def test_other_values_are_refused(value):
    found = make(ROWS)
    with pytest.raises(ValueError, match="expected features between -256 and 256"):
        found.add(np.full((1, 12), value, np.float32))
    assert found.count == 500


@pytest.mark.parametrize("change", [{"recipe": "tats"}, {"weights": "cd"}, {"sampling": "random"}])
def test_others_are_not_merged(change):
    found = make(ROWS[:9])
    [name] = change
    with pytest.raises(ValueError, match=f"different ways: {name} .* and .*{change[name]}"):
        found.merge(make(ROWS, MADE | change))
    assert found.count == 9
    with pytest.raises(ValueError, match=r"several lengths.*\[6, 12\]"):
        found.merge(make(ROWS[:, :6]))


def test_too_few_clips_have_no_covariance():
    with pytest.raises(ValueError, match=r"at least 2 clips\. Received 1"):
        make(ROWS[:1]).covariance(1)
    with pytest.raises(ValueError, match="--keep_features"):
        _ = make(ROWS).features


def _theirs(rows, **changes):
    """What cd-fvd and StyleGAN-V pickle."""
    x = rows.astype(np.float64)
    return {
        "capture_all": True, "capture_mean_cov": True, "max_items": None, "num_items": len(rows),
        "num_features": rows.shape[1], "all_features": [rows[:200], rows[200:]],
        "raw_mean": x.sum(axis=0), "raw_cov": x.T @ x, **changes,
    }  # fmt: skip


def test_statistics_of_cdfvd_and_styleganv(tmp_path):
    path = tmp_path / "theirs.pkl"
    path.write_bytes(pickle.dumps(_theirs(ROWS)))
    found, _ = statistics.read(path)
    assert (found.count, found.made) == (500, {})
    expected = np.cov(ROWS.astype(np.float64), rowvar=False, ddof=0)
    np.testing.assert_allclose(found.covariance(0), expected, rtol=1e-9, atol=1e-9)
    assert {*map(bytes, found.features)} == {*map(bytes, ROWS)}
    path.write_bytes(pickle.dumps(_theirs(ROWS, all_features=None)))
    assert not statistics.read(path)[0].keep_features


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_theirs(ROWS, raw_cov=Evil()), "print"),
        (_theirs(ROWS, num_items="many"), "num_items"),
        (_theirs(ROWS, raw_mean=ROWS[0][:5]), "do not fit"),
        (_theirs(ROWS, raw_mean=ROWS[0] * np.nan), "not finite"),
        ([1], "num_items"),
    ],
)
def test_other_pickles_are_refused(content, said, tmp_path, capsys):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=rf"evil.pkl: expected statistics of FVD.*{said}"):
        statistics.read(path)
    assert capsys.readouterr().out == ""


def test_damaged_and_other_files_are_refused(tmp_path):
    path = tmp_path / "real.safetensors"
    make(ROWS).write(path)
    whole = path.read_bytes()
    for content in (whole[:300], whole[:-40] + b"\1" * 40, b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="real"):
            statistics.read(path)
    models.safetensors.write(path, {"weights": ROWS})
    with pytest.raises(ValueError, match="expected statistics of FVD"):
        statistics.read(path)
    about = np.frombuffer(json.dumps({"made": MADE}).encode(), np.uint8)
    arrays = make(ROWS).arrays() | {"about": about, "sum": np.zeros(5)}
    models.safetensors.write(path, arrays)
    with pytest.raises(ValueError, match="do not fit"):
        statistics.read(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        statistics.read(tmp_path / "none.pkl")
