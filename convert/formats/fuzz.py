"""Feeds damaged checkpoints to every reader: each gives arrays, or one error that says why not.

    python -m convert.formats.fuzz --rounds=20000
    python -m convert.formats.fuzz --format=torch_pt --seed=7 --findings=findings

Anything else is a finding: another exception, an error text that is long, unprintable or without
the path, endless work, or memory far beyond the size of the file. It is printed, saved with
--findings, and the command ends with status 1. A finding names its seed and round:
`--seed=7 --first=1234 --rounds=1` makes the same input again.
"""

import resource
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from common import command
from convert.formats import FORMATS, _fuzzing

_ROUNDS = flags.DEFINE_integer("rounds", 2000, "Damaged inputs for each format.", lower_bound=1)
_FIRST = flags.DEFINE_integer("first", 0, "Number of the first round.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 0, "Of the random damage.")
_FORMAT = flags.DEFINE_enum("format", None, list(FORMATS), "One format instead of all.")
_FINDINGS = flags.DEFINE_string("findings", None, "Folder that receives the inputs that failed.")

_ADDRESS_SPACE = 4 * 2**30  # bytes: what would take more fails, and is a finding


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, limit))
    count = 0
    for name in [_FORMAT.value] if _FORMAT.value else FORMATS:
        before = count
        for finding in _fuzzing.fuzz(name, _ROUNDS.value, _SEED.value, _FIRST.value):
            count += 1
            print(finding)
            if _FINDINGS.value:
                finding.save(Path(_FINDINGS.value))
        print(f"{name}: {_ROUNDS.value} inputs, {count - before} findings", flush=True)
    return 1 if count else 0


if __name__ == "__main__":
    command.run(main)
