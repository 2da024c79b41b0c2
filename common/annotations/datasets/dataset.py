"""Dataset: the facts about a data set and the functions that read its annotation files."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from common.annotations import Record


@dataclasses.dataclass(frozen=True)
class Slip:
    """An oddity of a data set that is kept, because every other copy has it too.

    Attributes:
        text: One sentence for the user.
        met: Whether a record shows it.
    """

    text: str
    met: Callable[[Record], bool]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: Key in `common.annotations.datasets.DATASETS`.
        title: Name as its authors write it.
        records: Maps the annotation folder and a variant to the records, in the files' order, with
            paths as in the published archive. Raises FileNotFoundError for a wrong folder, and
            ValueError for a malformed row.
        classes: Maps the annotation folder and a variant to the class names, in label order.
        variant: Kind of the variants: "fold", "version", "order"; empty if there is only one.
        variants: Names of the variants, the default first; ("",) if there is only one.
        class_counts: Variant to number of classes, if known.
        counts: Variant and subset to the clip counts of known copies, the original's first.
        slips: Known oddities.
        candidates: Yields the forms in which a record may exist in a user's folder, the preferred
            first. A path with a video's suffix stands for every such suffix, in any case; a path
            without is a folder of frames.
    """

    name: str
    title: str
    records: Callable[[Path, str], list[Record]]
    classes: Callable[[Path, str], tuple[str, ...]]
    variant: str = ""
    variants: tuple[str, ...] = ("",)
    class_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, Mapping[str, tuple[int, ...]]] = dataclasses.field(default_factory=dict)
    slips: tuple[Slip, ...] = ()
    candidates: Callable[[Record], Iterable[Record]] = lambda record: (record,)


def also_in(folder: str) -> Callable[[Record], Iterator[Record]]:
    """Returns `candidates` that look in the user's folder, and in `folder` inside it."""

    def candidates(record: Record) -> Iterator[Record]:
        yield record
        yield dataclasses.replace(record, path=f"{folder}/{record.path}")

    return candidates
