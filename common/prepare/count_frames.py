"""Counts the frames, or the flow, in every folder under --input and writes their `n_frames`.

    python -m common.prepare.count_frames --input=frames

`extract_frames` and `extract_flow` write these files themselves; this is for folders that other
tools made, or that have changed since. A folder where a number is missing is named, and keeps what
it has.
"""

import sys
from collections.abc import Sequence

from absl import app

from common import command
from common.flags import DRY_RUN, INPUT, LIMIT
from common.prepare import counting, inputs, running
from common.printable import printable

running.declare(INPUT, LIMIT, DRY_RUN, running.ALLOW_FAILURES)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    if not INPUT.value:
        raise app.UsageError("--input is missing: a folder with folders of frames.")
    total = written = failed = 0
    items = inputs.frame_folders(INPUT.value, LIMIT.value)
    for item in items:
        folder = item.source.absolute()
        try:
            count, changed = counting.recount(folder.parent, folder.name, DRY_RUN.value)
        except (ValueError, OSError) as error:
            failed += 1
            print(f"  {printable(str(error))}", file=sys.stderr)
            continue
        total += count
        written += changed
    print(
        f"count_frames: {len(items)} folders, {total} frames or flows, {written} n_frames "
        f"{'to write' if DRY_RUN.value else 'written'}, {failed} failed"
    )
    return int(failed > running.ALLOW_FAILURES.value)


if __name__ == "__main__":
    command.run(main)
