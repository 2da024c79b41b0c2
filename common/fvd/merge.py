"""Adds up files of statistics, such as those of shards that several machines computed."""

import dataclasses
from pathlib import Path

from common import command
from common.fvd import statistics
from common.fvd.statistics import Statistics
from common.io import check_target
from common.settings import UsageError, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Adds up files of statistics for FVD, such as those of shards.

    i3d fvd merge --output=all.safetensors 1.safetensors 2.safetensors

    The result is that of one run over all videos, bit for bit. Statistics of different recipes,
    weights or sampling are refused.
    """

    files: tuple[Path, ...] = setting("Files of statistics.", (), positional=True)
    output: Path = setting("File to write, a .safetensors.")
    overwrite: bool = setting("Replace it if it is there already.", False)


def main(settings: Settings) -> int:
    if len(settings.files) < 2:
        raise UsageError("give at least two files of statistics")
    if len({path.resolve() for path in settings.files}) < len(settings.files):
        raise UsageError("a file of statistics is given twice")
    check_target(settings.output, settings.overwrite)
    read = [statistics.read(path) for path in settings.files]
    keep = all(part.keep_features for part, _ in read)
    total, first = Statistics({}, keep), read[0][1]
    total.merge(*(part for part, _ in read))
    failures = sum(also.get("failures", 0) for _, also in read)
    total.write(settings.output, versions=first.get("versions", {}), failures=failures)
    print(f"{settings.output}: {total.count:,} clips of {len(read)} files")
    return 0


if __name__ == "__main__":
    command.start(main, Settings)
