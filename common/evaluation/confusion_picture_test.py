"""The confusion matrix as a picture: what is drawn, and what is listed."""

import sys

import numpy as np
import pytest

from common.evaluation import confusion_picture

pytest.importorskip("matplotlib")


@pytest.mark.parametrize(
    ("count", "names", "numbers"), [(6, 6, 6), (25, 25, 25), (26, 26, 0), (101, None, 0)]
)
def test_names_and_numbers_stand_where_they_can_be_read(
    tmp_path, monkeypatch, count, names, numbers
):
    from matplotlib import image
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig

    def keep(self, *args, **more):
        figures.append(self)
        save(self, *args, **more)

    monkeypatch.setattr(Figure, "savefig", keep)
    classes = ("clock$wi$e", *(f"class {index}" for index in range(1, count)))
    counts = np.diag(np.full(count, 8))
    counts[1, 0], counts[2] = 2, 0  # a confusion, and a class that is absent
    confusion_picture.write(tmp_path / "c.png", counts, classes, "rgb: top-1 90.0 %")
    axes = figures[0].axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert len(axes.texts) == numbers
    if names:
        assert labels == list(classes)
        assert {text.get_text() for text in axes.texts} <= {"2", "8"}
    else:
        assert len(labels) < 15
        assert "2 of 10  class 1 → clock$wi$e" in figures[0].axes[1].texts[0].get_text()
    picture = image.imread(tmp_path / "c.png")
    yellow = (picture[..., 0] > 0.9) & (picture[..., 1] > 0.85) & (picture[..., 2] < 0.2)
    columns = np.flatnonzero(yellow[:, : picture.shape[1] * 3 // 4].any(axis=0))
    assert columns[-1] - columns[0] + 1 >= 2 * count  # pixels a class, from the first to the last


def test_the_most_frequent_confusions_come_first():
    counts = np.array([[7, 1, 2], [3, 0, 0], [0, 5, 5]])
    lines = confusion_picture._frequent(counts, "abc").splitlines()[2:]
    assert lines == ["3 of 3  b → a", "5 of 10  c → b", "2 of 10  a → c", "1 of 10  a → b"]
    assert confusion_picture._frequent(np.diag([1, 2]), "ab").endswith("none")


def test_matplotlib_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install '\.\[torch\]'"):
        confusion_picture.write(tmp_path / "c.png", np.zeros((1, 1), np.int64), ("a",))
    assert not list(tmp_path.iterdir())
