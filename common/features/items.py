"""What features are extracted of: items from a video, a folder, a list or a data set's clips."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.annotations import Action, Annotations, Record
from common.io import listing
from common.jobs import inputs
from common.jobs.task import Item


def found(
    path: str | Path,
    annotations: Annotations | None = None,
    spans: bool = False,
    start: float | None = None,
    end: float | None = None,
    limit: int | None = None,
    output: str | Path | None = None,
) -> tuple[Item, ...]:
    """The items, with arrays of RGB among them.

    Args:
        path: As for `inputs.items`.
        annotations: The clips of a data set.
        spans: Each labelled span of these is an item of its own, NAME/NUMBER_LABEL.
        start: Of each item, seconds.
        end: Of each item, seconds.
        limit: Takes so many.
        output: Where results go.

    Raises:
        FileNotFoundError, NotADirectoryError: As `inputs.items`.
        ValueError: Spans without annotations, or there are none; a span of time of clips that have
            one already; an end before the start; or as `inputs.items`.
    """
    if start is not None and end is not None and end <= start:
        raise ValueError(f"the end must be after the start, {start}. Received: {end}.")
    records = annotations.records if annotations else None
    if spans:
        if annotations is None:
            raise ValueError("labelled spans are those of annotations, and there are none.")
        records = tuple(
            part for record in annotations.records for part in _spans(record, annotations.classes)
        )
        if not records:
            raise ValueError("the annotations have no labelled spans. Leave out --spans.")
    items = inputs.items(path, records, limit, output, arrays=True)
    if start is None and end is None:
        return items
    if cut := [item.name for item in items if item.start is not None or item.end is not None]:
        raise ValueError(
            f"{listing(cut)}: the annotations say where these begin and end. Leave out --start "
            "and --end."
        )
    return tuple(dataclasses.replace(item, start=start, end=end) for item in items)


def _spans(record: Record, classes: Sequence[str]) -> Iterable[Record]:
    """A record for each labelled span of a clip."""
    for number, action in enumerate(record.actions):
        name = classes[action.label] if classes else str(action.label)
        label = "".join(letter if letter.isalnum() else "_" for letter in name)
        start, end = _seconds(record, action)
        yield dataclasses.replace(
            record,
            name=f"{record.name}/{number:03}_{label}",
            labels=(action.label,),
            actions=(),
            start=start,
            end=end,
        )


def _seconds(record: Record, action: Action) -> tuple[float, float]:
    """Where a span begins and ends in the file; that of frames lies between two of them.

    Raises:
        ValueError: It is in frames, and their rate is not known.
    """
    begin = record.start or 0.0
    if record.unit == "seconds":
        return begin + action.start, begin + action.end
    if not record.fps:
        raise ValueError(f"{record.name}: its spans are frames, and their rate is not known.")
    # Half a frame earlier, so that no rounding decides about the first and the last.
    first, last = (max(0.0, (at - 0.5) / record.fps) for at in (action.start, action.end))
    return begin + first, begin + last
