"""Makes tables of the results in benchmarks/results, as Markdown.

    python benchmarks/report.py docs/performance.md

writes those of the page anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import measuring
from absl import app

from common.io import write_text

BEGIN, END = "<!-- measured: make performance -->", "<!-- end of what is measured -->"
RESULTS = Path(__file__).parent / "results"

Result = Mapping[str, Any]


def machine(result: Result) -> str:
    """Where and when it was measured, a line."""
    found = result["machine"]
    parts = [found["date"], *([found["gpu"]] if "gpu" in found else [])]
    parts += [found["processor"], f"{found['cores']} cores", found["system"]]
    parts.append(f"Python {found['python']}")
    parts += [f"{package} {version}" for package, version in found["packages"].items()]
    return f"{', '.join(parts)}. Medians of {result['rounds']} turns."


def case(result: Result, training: bool = False) -> list[str]:
    """The table of a network's inference, or of its training.

    Args:
        result: One of the cases of `network.py` or `train.py`.
        training: Which of them.
    """
    size = f"{result['frames']}x{result['size']}x{result['size']}"
    clips = "clip" if result["batch"] == 1 else "clips"
    cost = f"{result['gflop']:.0f} GFLOP"
    columns = ["framework", "form", "precision", "ms a step" if training else "ms a clip"]
    columns += ["clips a second", "times the plain loop" if training else "times the usual port"]
    columns += ["of the peak", "MiB", "difference"]
    rows = []
    usual = median(result["candidates"][0]["seconds"])
    # Of the framework that multiplies fastest: PyTorch's library is slow on some processors.
    peaks: dict[str, float] = {}
    for row in result["candidates"]:
        peaks[row["precision"]] = max(peaks.get(row["precision"], 0.0), row.get("peak", 0.0))
    for row in result["candidates"]:
        cells = [row["backend"], row["form"], row["precision"]]
        if "missing" in row:
            rows.append([*cells, row["missing"], *[""] * 5])
            continue
        seconds = median(row["seconds"])
        cells.append(number(1000 * seconds / (1 if training else result["batch"])))
        cells += [number(result["batch"] / seconds), f"{usual / seconds:.2f}"]
        cells.append(f"{result['gflop'] / seconds / peaks[row['precision']]:.0%}")
        cells.append(f"{row['memory']:.0f}" if "memory" in row else "")
        cells.append(f"{row['error']:.0e}" if row["error"] else "0")
        rows.append(cells)
    what = f"`{result['architecture']}`, {result['batch']} {clips} of {size}, {cost}"
    return [f"{what}{' a step' if training else ''}:", "", *_table(columns, rows, texts=3)]


def pipeline(result: Result) -> list[str]:
    """The table of a video, stage by stage: one of the videos of `pipeline.py`."""
    ways = result["ways"]
    totals = [median(map(sum, zip(*way["seconds"].values(), strict=True))) for way in ways]
    flows = [(result["frames"] - 1) / median(way["seconds"]["flow"]) for way in ways]
    rows = [
        [f"{stage}, s", *(number(median(way["seconds"][stage])) for way in ways)]
        for stage in ways[0]["seconds"]
    ]
    rows.append(["total, s", *map(number, totals)])
    rows.append(["times the usual way", *(f"{totals[0] / total:.2f}" for total in totals)])
    rows.append(["flow, pairs a second", *map(number, flows)])
    rows.append(["difference of the logits", *(f"{w['error']:.0e}" for w in ways)])
    rows[-1][1] = "0"
    size = f"{result['width']}x{result['height']}"
    what = f"{result['name']}, {result['frames']} frames of {size}:"
    return [what, "", *_table(["", *(way["name"] for way in ways)], rows, texts=1)]


def tables(folder: Path = RESULTS) -> str:
    """All tables of the page, from the results in a folder."""
    return "\n".join(line for part in PARTS for line in _part(folder, *part)).strip()


def page(text: str, folder: Path = RESULTS) -> str:
    """The page with its tables as the results are now.

    Raises:
        ValueError: The marks around the tables are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text has no {BEGIN} and {END} around its tables")
    return f"{before}{BEGIN}\n{tables(folder)}\n{END}{after}"


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _network(result: Result) -> Iterator[str]:
    for each in result["cases"]:
        yield from (*case(each), "")


def _train(result: Result) -> Iterator[str]:
    for each in result["cases"]:
        yield from (*case(each, training=True), "")


def _pipeline(result: Result) -> Iterator[str]:
    for each in result["videos"]:
        yield from (*pipeline(each), "")


PARTS: tuple[tuple[str, str, Callable[[Result], Iterator[str]]], ...] = (
    ("Inference", "network", _network),
    ("A step of training", "train", _train),
    ("From a video to the logits of two streams", "pipeline", _pipeline),
)


def _part(
    folder: Path, title: str, name: str, lines: Callable[[Result], Iterator[str]]
) -> Iterator[str]:
    for where, file in (("on a CPU", f"{name}.json"), ("on a GPU", f"{name}-gpu.json")):
        yield from (f"## {title}, {where}", "")
        if result := measuring.read(folder / file):
            yield from (machine(result), "", *lines(result))
        else:
            yield from ("Not measured.", "")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> list[str]:
    """A table whose first columns are texts."""
    aligned = [*["---"] * texts, *["---:"] * (len(columns) - texts)]
    return [f"| {' | '.join(cells)} |" for cells in (columns, aligned, *rows)]


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("give the path of the page.")
    path = Path(argv[1])
    write_text(path, page(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    app.run(main)
