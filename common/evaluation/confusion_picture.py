"""A confusion matrix as a picture that can be read with six classes and with hundreds."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.io import escape, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBERED = 25  # classes up to which the cells have numbers,
_NAMED = 60  # and the axes names
_LISTED = 30  # confusions beside, where the axes have none
_LETTERS = 28  # of a name

# Above this share of a class's videos a cell is bright, and its number dark.
_BRIGHT = 0.4

_Counts = NDArray[np.int64]


def write(
    path: str | os.PathLike[str], counts: _Counts, classes: Sequence[str], title: str = ""
) -> None:
    """Draws how often each class was taken for each: a PNG, by a temporary file and a rename.

    A row is a true class, a colour the share of its videos, with small shares made visible. Up to
    25 classes the cells have numbers, up to 60 the axes have names; beyond, the most frequent
    confusions are listed beside.

    Args:
        path: The file to write.
        counts: [K, K] videos.
        classes: [K] names.
        title: Above the picture.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: Other shapes.
    """
    check_installed()
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    count = len(classes)
    if counts.shape != (count, count) or not count:
        raise ValueError(
            f"expected counts [K, K] and K names. Received: {list(counts.shape)} and {count}."
        )
    names = [shortened(escape(name)) for name in classes]
    side = min(max(4.5, 2.0 + 0.45 * count), 12.0)  # inches
    wide = side + (1.5 if count <= _NAMED else 6.2)
    figure = Figure(figsize=(wide, side), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot() if count <= _NAMED else _with_list(figure, counts, names)
    videos = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, videos, out=np.full(counts.shape, np.nan), where=videos > 0)
    image = axes.imshow(
        shares,
        colormaps["viridis"].with_extremes(bad="lightgrey"),  # a class without videos
        norm=PowerNorm(0.5, 0, 1),
        interpolation="nearest",
    )
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class's videos")
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    if count <= _NAMED:
        _name(axes, names)
    if count <= _NUMBERED:
        _number(axes, counts, shares)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def check_installed() -> None:
    """Raises `ImportError` where matplotlib is not there."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "the picture of confusions needs matplotlib: pip install '.[torch]' or '.[tf]'."
        ) from error


def shortened(name: str) -> str:
    """A name that is not endlessly long."""
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def frequent(counts: _Counts, classes: Sequence[str], most: int) -> list[tuple[str, str, int, int]]:
    """The most frequent confusions: true class, the one it was taken for, how often, of how many.

    By their share of the true class's videos, then by how often, then in the order of the classes.
    """
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    videos = counts.sum(axis=1)
    cells = [(int(row), int(column)) for row, column in zip(*np.nonzero(wrong), strict=True)]
    cells.sort(key=lambda cell: (-wrong[cell] / videos[cell[0]], -wrong[cell]))
    return [
        (classes[row], classes[column], int(wrong[row, column]), int(videos[row]))
        for row, column in cells[:most]
    ]


def _name(axes: "Axes", names: Sequence[str]) -> None:
    size = 9 if len(names) <= _NUMBERED else 6
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(places, names, fontsize=size, parse_math=False)


def _number(axes: "Axes", counts: _Counts, shares: NDArray[np.float64]) -> None:
    size = 11 if len(counts) <= 12 else 7
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "black" if shares[row, column] > _BRIGHT else "white"
        axes.text(
            column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=size
        )


def _with_list(figure: "Figure", counts: _Counts, names: Sequence[str]) -> "Axes":
    """Axes for the picture, left of a list of the most frequent confusions."""
    axes, beside = figure.subplots(1, 2, width_ratios=(5, 2))
    lines = [
        f"{often} of {videos}  {true} → {taken}"
        for true, taken, often, videos in frequent(counts, names, _LISTED)
    ]
    text = "\n".join(["The most frequent confusions:", "", *(lines or ["none"])])
    beside.set_axis_off()
    beside.text(
        0, 1, text, va="top", fontsize=8, linespacing=1.6, parse_math=False, in_layout=False
    )
    return axes
