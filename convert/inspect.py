"""Prints what a checkpoint holds: format, dialect, architecture, and every array.

    python -m convert.inspect rgb_scratch
    python -m convert.inspect some/model.pt

A file that fits no known network is listed too, and the command then ends with the reason and
status 1.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app

from common import arch, command
from common.io import escape, listing
from convert import checkpoints, formats, hub


def table(path: Path) -> str:
    """Native names, shapes and types of a file, a line each."""
    arrays = formats.detect(path).read(path)
    rows = [(escape(name), array) for name, array in arrays.items()]
    width = max(len(name) for name, _ in rows)
    return "\n".join(
        f"{name:{width}}  {array.dtype.name}  {list(array.shape)}" for name, array in rows
    )


def summary(path: Path) -> str:
    """What hub.read finds out about a file."""
    weights = hub.read(path)
    rows = {
        "format": weights.format,
        "dialect": weights.dialect,
        "architecture": weights.net.name,
        "classes": weights.net.num_classes,
        "stream": weights.stream,
        "parameters": f"{arch.count(weights.net):,} trainable, {weights.numbers:,} in all",
    }
    if weights.ignored:
        rows["passed over"] = escape(listing(weights.ignored, 3))
    return "\n".join(f"{name + ':':14}{value}" for name, value in rows.items())


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("give the name or path of one checkpoint.")
    path, _ = checkpoints.resolve(argv[1])
    print(table(path))
    print()
    print(summary(path))


if __name__ == "__main__":
    command.run(main)
