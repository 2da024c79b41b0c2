"""The picture of confusions: what is drawn, at which size, and what is listed."""

import sys

import numpy as np
import pytest

from common.annotations import label_maps
from common.evaluation import confusion_picture


def _counts(count):
    counts = np.diag(np.full(count, 8))
    counts[1, 0] = 2
    counts[2] = 0  # absent
    return counts


@pytest.mark.parametrize(
    "classes",
    [
        ("left", "right", "up", "down", "clock$wi$e", "x" * 90),
        label_maps.load(label_maps.HMDB51),
        label_maps.load(label_maps.UCF101),
        label_maps.load(label_maps.KINETICS_400),
    ],
    ids=len,
)
def test_a_picture_has_every_class(tmp_path, classes):
    pytest.importorskip("matplotlib")
    import matplotlib.image

    count = len(classes)
    confusion_picture.write(tmp_path / "c.png", _counts(count), classes, "rgb: top-1 90.0 %")
    picture = matplotlib.image.imread(tmp_path / "c.png")
    yellow = (picture[..., 0] > 0.9) & (picture[..., 1] > 0.85) & (picture[..., 2] < 0.2)
    columns = np.flatnonzero(yellow[:, : picture.shape[1] * 3 // 4].any(axis=0))
    across = columns[-1] - columns[0] + 1
    assert across >= 2 * count  # pixels a class, from the first to the last
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


@pytest.mark.parametrize(
    ("count", "names", "numbers"), [(6, 6, 6), (25, 25, 25), (26, 26, 0), (101, None, 0)]
)
def test_names_and_numbers_stand_where_they_can_be_read(
    tmp_path, monkeypatch, count, names, numbers
):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: figures.append(self) or
                        path.write_bytes(b""))  # fmt: skip
    classes = tuple(f"class {index}" for index in range(count))
    confusion_picture.write(tmp_path / "c.png", _counts(count), classes)
    axes = figures[0].axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert len(axes.texts) == numbers  # one confusion more, one class absent
    if names:
        assert labels == list(classes)
        assert all(text.get_text() == "2" or text.get_text() == "8" for text in axes.texts)
    else:
        assert len(labels) < 15
        assert "2 of 10  class 1 → class 0" in figures[0].axes[1].texts[0].get_text()


def test_frequent_confusions_come_first():
    counts = np.array([[7, 1, 2], [3, 0, 0], [0, 5, 5]])
    assert confusion_picture.frequent(counts, "abc", 3) == [
        ("b", "a", 3, 3),
        ("c", "b", 5, 10),
        ("a", "c", 2, 10),
    ]
    assert confusion_picture.frequent(np.diag([1, 2]), "ab", 3) == []


def test_what_does_not_fit_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"Received: \[3, 3\] and 2"):
        confusion_picture.write(tmp_path / "c.png", np.zeros((3, 3), np.int64), ("a", "b"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install '\.\[torch\]'"):
        confusion_picture.write(tmp_path / "c.png", np.zeros((1, 1), np.int64), ("a",))
    assert not list(tmp_path.iterdir())
