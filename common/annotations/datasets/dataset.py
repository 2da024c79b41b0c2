"""Dataset: the facts about a data set and the function that reads its files."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from common.annotations import Record


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: Key in `common.annotations.datasets.DATASETS`.
        title: Name as its authors write it.
        read: Maps the annotation folder and a variant to the class names in label order, and the
            records in the files' order with paths as in the published archive. Raises
            FileNotFoundError for a wrong folder, and ValueError for a malformed row.
        variant: Kind of the variants: "fold", "version", "order"; empty if there is only one.
        variants: Names of the variants, the default first; ("",) if there is only one.
        num_classes: Number of classes in complete copies, if `read` does not enforce it.
        counts: Variant and subset to the clip counts of known copies, the original's first.
        oddities: What is kept although it is odd, because every other copy has it too: a sentence
            for the user, and whether a record shows it.
        candidates: Yields the forms in which a record may exist in a user's folder, the preferred
            first. A path with a video's suffix stands for every such suffix, in any case; a path
            without is a folder of frames.
    """

    name: str
    title: str
    read: Callable[[Path, str], tuple[tuple[str, ...], list[Record]]]
    variant: str = ""
    variants: tuple[str, ...] = ("",)
    num_classes: int | None = None
    counts: Mapping[str, Mapping[str, tuple[int, ...]]] = dataclasses.field(default_factory=dict)
    oddities: Mapping[str, Callable[[Record], bool]] = dataclasses.field(default_factory=dict)
    candidates: Callable[[Record], Iterable[Record]] = lambda record: (record,)


def also_in(folder: str) -> Callable[[Record], Iterator[Record]]:
    """Returns `candidates` that look in the user's folder, and in `folder` inside it."""

    def candidates(record: Record) -> Iterator[Record]:
        yield record
        yield dataclasses.replace(record, path=f"{folder}/{record.path}")

    return candidates
