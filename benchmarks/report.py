"""Makes the Markdown tables of docs/performance.md from the results in benchmarks/results.

python benchmarks/report.py docs/performance.md
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import measuring

from common import command
from common.io import write_text
from common.settings import UsageError, setting

BEGIN, END = "<!-- measured: make performance -->", "<!-- end of what is measured -->"
RESULTS = Path(__file__).parent / "results"

Result = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Updates the tables of a page from the results in benchmarks/results."""

    page: tuple[str, ...] = setting("The page, such as docs/performance.md.", positional=True)


def machine(result: Result) -> str:
    """Returns a line with place and time of the measurement."""
    return f"{measuring.described(result['machine'])}. Medians of {result['rounds']} turns."


def case(result: Result, training: bool = False) -> list[str]:
    """Returns the table of a case of `network.py`, or of `train.py` if `training`."""
    size = f"{result['frames']}x{result['size']}x{result['size']}"
    clips = "clip" if result["batch"] == 1 else "clips"
    cost = f"{result['gflop']:.0f} GFLOP"
    columns = ["framework", "form", "precision", "ms a step" if training else "ms a clip"]
    columns += ["clips a second", "times the plain loop" if training else "times the usual port"]
    columns += ["of the peak", "MiB", "difference"]
    rows = []
    usual = median(result["candidates"][0]["seconds"])
    # Of the framework that multiplies fastest: PyTorch is slow on some processors.
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
    """Returns the table of a video of `pipeline.py`, by stage."""
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
    """Returns all tables of the page, from the results in a folder."""
    return "\n".join(line for part in PARTS for line in _part(folder, *part)).strip()


def page(text: str, folder: Path = RESULTS) -> str:
    """Returns a page with its tables updated; ValueError if it lacks the marks around them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text has no {BEGIN} and {END} around its tables")
    return f"{before}{BEGIN}\n{tables(folder)}\n{END}{after}"


def number(value: float) -> str:
    """Formats three digits, or all digits before the point."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


# Title, file, key of the parts of a result, and the table of a part.
PARTS: tuple[tuple[str, str, str, Callable[[Result], list[str]]], ...] = (
    ("Inference", "network", "cases", case),
    ("A step of training", "train", "cases", functools.partial(case, training=True)),
    ("From a video to the logits of two streams", "pipeline", "videos", pipeline),
)


def _part(
    folder: Path, title: str, name: str, key: str, table: Callable[[Result], list[str]]
) -> Iterator[str]:
    for where, file in (("on a CPU", f"{name}.json"), ("on a GPU", f"{name}-gpu.json")):
        yield from (f"## {title}, {where}", "")
        if not (folder / file).exists():
            yield from ("Not measured.", "")
            continue
        result = json.loads((folder / file).read_text(encoding="utf-8"))
        yield from (machine(result), "")
        for part in result[key]:
            yield from (*table(part), "")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> list[str]:
    """Returns a table whose first `texts` columns are texts."""
    aligned = [*["---"] * texts, *["---:"] * (len(columns) - texts)]
    return [f"| {' | '.join(cells)} |" for cells in (columns, aligned, *rows)]


def main(settings: Settings) -> None:
    if len(settings.page) != 1:
        raise UsageError("name one page")
    path = Path(settings.page[0])
    write_text(path, page(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    command.start(main, Settings)
