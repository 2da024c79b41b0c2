"""Draws a confusion matrix that can be read with six classes and with hundreds."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.io import escape, replacing

_NUMBERED = 25  # the most classes whose cells have numbers
_NAMED = 60  # the most classes with names on the axes
_LISTED = 30  # confusions listed beside a picture without names
_LETTERS = 28  # of a name


def write(
    path: str | os.PathLike[str],
    counts: NDArray[np.int64],
    classes: Sequence[str],
    title: str = "",
) -> None:
    """Draws which classes are confused, as a PNG that is written atomically.

    A row is a true class, a colour the share of its videos. Up to 25 classes the cells have
    numbers, up to 60 the axes have names; beyond, the most frequent confusions are listed.

    Args:
        path: The file to write.
        counts: [K, K] videos: row the true class, column the one with the highest score.
        classes: [K] names.
        title: The title.

    Raises:
        ImportError: matplotlib is not installed.
    """
    check_installed()
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    count = len(classes)
    names = [shortened(escape(name)) for name in classes]
    side = min(max(4.5, 2.0 + 0.45 * count), 12.0)  # inches
    figure = Figure((side + (1.5 if count <= _NAMED else 6.2), side), 150, layout="constrained")
    FigureCanvasAgg(figure)
    if count <= _NAMED:
        axes = figure.add_subplot()
        size = 9 if count <= _NUMBERED else 6
        axes.set_xticks(range(count), names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(count), names, fontsize=size, parse_math=False)
    else:
        axes, beside = figure.subplots(1, 2, width_ratios=(5, 2))
        beside.set_axis_off()
        layout = {"linespacing": 1.6, "parse_math": False, "in_layout": False}
        beside.text(0, 1, _frequent(counts, names), va="top", fontsize=8, **layout)
    videos = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, videos, out=np.full(counts.shape, np.nan), where=videos > 0)
    colours = colormaps["viridis"].with_extremes(bad="lightgrey")  # a class without videos
    image = axes.imshow(shares, colours, PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class's videos")
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    if count <= _NUMBERED:
        size = 11 if count <= 12 else 7
        for row, column in zip(*np.nonzero(counts), strict=True):
            style = {"color": "black" if shares[row, column] > 0.4 else "white", "fontsize": size}
            axes.text(column, row, counts[row, column], ha="center", va="center", **style)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def check_installed() -> None:
    """Raises `ImportError` if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "the picture of confusions needs matplotlib: pip install '.[torch]' or '.[tf]'."
        ) from error


def shortened(name: str) -> str:
    """A name of at most 28 letters."""
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def _frequent(counts: NDArray[np.int64], names: Sequence[str]) -> str:
    """The most frequent confusions, by their share of the true class's videos."""
    wrong = counts - np.diag(np.diag(counts))
    videos = counts.sum(axis=1)
    cells = [(int(row), int(column)) for row, column in np.argwhere(wrong)]
    cells.sort(key=lambda cell: (-wrong[cell] / videos[cell[0]], -wrong[cell]))
    lines = [
        f"{wrong[row, column]} of {videos[row]}  {names[row]} → {names[column]}"
        for row, column in cells[:_LISTED]
    ]
    return "\n".join(["The most frequent confusions:", "", *(lines or ["none"])])
