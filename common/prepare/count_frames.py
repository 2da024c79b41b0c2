"""Counts the frames, or the flow, in every folder under --input and writes their `n_frames`.

    python -m common.prepare.count_frames --input=frames

`extract_frames` and `extract_flow` write these files themselves; this is for folders that other
tools made, or that have changed since. A folder where a number is missing is named, and keeps what
it has.

The files lie beside the images: --output may be left out, and is --input where it is given. One
that is wrong is written anew with or without --overwrite, and one that is right is left alone.
Counting waits for the disk, so it is done in one process unless --workers says how many.
"""

import os
import sys
from collections.abc import Sequence

from absl import app

from common import command
from common.flags import ALLOW_FAILURES, DRY_RUN, INPUT, LIMIT, OUTPUT, OVERWRITE, WORKERS
from common.io import escape
from common.jobs import command as work
from common.jobs import inputs
from common.prepare import counting

work.declare(INPUT, OUTPUT, WORKERS, OVERWRITE, LIMIT, DRY_RUN, ALLOW_FAILURES)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    if not INPUT.value:
        raise app.UsageError("--input is missing: a folder with folders of frames.")
    if OUTPUT.value and os.path.realpath(OUTPUT.value) != os.path.realpath(INPUT.value):
        raise app.UsageError(
            "--output is another folder than --input: n_frames is written beside the images it "
            "counts. Leave --output out."
        )
    items = inputs.frame_folders(INPUT.value, LIMIT.value)
    workers = min(WORKERS.value or 0, len(items))
    counted = counting.recount_all(items, workers, DRY_RUN.value)
    errors = [each.error for each in counted if each.error]
    for error in errors:
        print(f"  {escape(error)}", file=sys.stderr)
    print(
        f"count_frames: {len(items)} folders, {sum(each.count for each in counted)} frames or "
        f"flows, {sum(each.written for each in counted)} n_frames "
        f"{'to write' if DRY_RUN.value else 'written'}, {len(errors)} failed"
    )
    return int(len(errors) > ALLOW_FAILURES.value)


if __name__ == "__main__":
    command.run(main)
