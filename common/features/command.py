"""The command `extract_features` of either framework: settings to a task, items to files."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from common import flow, hardware, models
from common.annotations import Annotations, Record
from common.features import network, outputs, presets, tracklets
from common.features.extract import extract
from common.features.network import Network
from common.features.outputs import Rows
from common.features.settings import FORMATS, Settings, complete
from common.io import listing
from common.jobs import inputs, runs
from common.jobs.task import Item
from common.models import MakePredictor
from common.settings import UsageError

# Settings that change what is made, beside those of `extraction`.
_RECORDED = ("preset", "square_pixels", "source_fps", "video_w", "video_h", "format")
_READERS = 4  # videos that are read at a time, at most, unless --workers says it


@dataclasses.dataclass(frozen=True)
class FeatureTask:
    """Makes NAME.npy, or another format, and NAME.json, which says what its rows are.

    Of two streams there are NAME_rgb.npy and NAME_flow.npy, or one file with their rows side by
    side.

    Attributes:
        backend: The framework's package.
        settings: Those of the command, with nothing left open in their `extraction`.
        networks: That of each stream.
        origin: What the networks are, for the record: by stream, weights and contract.
    """

    backend: str
    settings: Settings
    networks: tuple[Network, ...]
    origin: Mapping[str, Mapping[str, object]]

    command = "extract_features"

    @property
    def joined(self) -> bool:
        """Whether the rows of two streams are in one file."""
        return self.settings.join and len(self.networks) > 1

    def parameters(self) -> Mapping[str, object]:
        settings = self.settings
        flow_record: dict[str, object] | None = None
        if "flow" in settings.streams:
            computed = flow.describe(*settings.chosen_flow())
            flow_record = {"stored": True} if settings.flow else computed
        return {
            "backend": self.backend,
            "streams": self.origin,
            "extraction": dataclasses.asdict(settings.extraction),
            "flow": flow_record,
            "tracking": settings.tracking_folder is not None,
            "join": self.joined,
            **{name: getattr(settings, name) for name in _RECORDED},
        }

    def targets(self, item: Item) -> Sequence[str]:
        names = [f"{item.name}_{each.stream}" for each in self.networks]
        if self.joined or len(names) == 1:
            names = [item.name]
        return [*(name + FORMATS[self.settings.format] for name in names), f"{item.name}.json"]

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        networks = {each.stream: each for each in self.networks}
        found, frames, fps = extract(item, self.settings, networks)
        if self.joined:
            found = {"+".join(found): _joined([*found.values()])}
        record = {
            **self.parameters(),
            "source": item.source.name,
            "start": item.start,
            "end": item.end,
            "frames": frames,
            "versions": models.versions(self.backend),
        }
        *paths, sidecar = temporary
        for path, rows in zip(paths, found.values(), strict=True):
            arrays = {name: each.array for name, each in rows.items()}
            outputs.write(path, arrays, self.settings.tracking_folder is not None)
        outputs.write_sidecar(sidecar, found, record, fps, item.start or 0.0)
        return {"frames": frames, "rows": sum(map(len, arrays.values()))}


def run(settings: Settings, make: MakePredictor, backend: str) -> int:
    """Extracts features with the predictors of a framework; returns the exit status."""
    if settings.show_presets:
        print(presets.text())
        return 0
    if not settings.input or not settings.output:
        raise UsageError(f"--{'output' if settings.input else 'input'} is needed")
    hardware.keep_freed_memory()
    task = create(settings, make, backend)
    items = find_items(settings)
    workers = settings.workers
    if workers is None:
        workers = min(_READERS, hardware.processors())
    how = dataclasses.replace(
        settings.for_run(items),
        workers=min(workers, len(items)),
        engine="ray" if settings.engine == "ray" else "threads",  # which share the network
    )
    try:
        report = runs.run(task, items, how)
    finally:
        network.clear()
    print(report.text())
    return report.status


def create(settings: Settings, make: MakePredictor, backend: str) -> FeatureTask:
    """Makes the task; reads each checkpoint once.

    Raises:
        UsageError: Settings that contradict each other.
        CheckpointError, FileNotFoundError: A checkpoint cannot be read.
        ValueError: It is of another stream; there is no such endpoint; or a window is shorter than
            the network takes.
    """
    read = [network.read(path, stream, settings) for stream, path in settings.checkpoints().items()]
    settings = complete(settings, read[0])
    gpu = settings.device == "gpu" or (settings.device == "auto" and flow.on_gpu("auto"))
    networks = tuple(network.create(make, settings, model, gpu) for model in read)
    origin = {
        made.stream: {
            "architecture": model.net.name,
            "weights": model.digests,
            "contract": dataclasses.asdict(model.contract),
            "endpoint": made.endpoint,
            "precision": settings.precision,
        }
        for made, model in zip(networks, read, strict=True)
    }
    return FeatureTask(backend, settings, networks, origin)


def _joined(streams: Sequence[Mapping[str, Rows]]) -> dict[str, Rows]:
    """The rows of several streams side by side."""
    return {
        name: Rows(np.concatenate([rows[name].array for rows in streams], axis=-1), first.spans)
        for name, first in streams[0].items()
    }


def find_items(settings: Settings) -> tuple[Item, ...]:
    """The items of --input, among them arrays of RGB, with the span and tracklets of each.

    Raises:
        FileNotFoundError, NotADirectoryError: See `inputs.items`.
        ValueError: Labelled spans without annotations that have any; a span of time of items that
            are parts of videos already; tracklets of parts; or see `inputs.items`.
    """
    start, end = settings.start, settings.end
    if start is not None and end is not None and end <= start:
        raise ValueError(f"the end must be after the start, {start}. Received: {end}.")
    known = settings.read_annotations()
    records: Sequence[Record] | None = known.records if known else None
    if settings.spans:
        if known is None:
            raise ValueError("labelled spans are those of annotations. Add --annotations.")
        records = [part for record in known.records for part in _spans(record, known)]
        if not records:
            raise ValueError("the annotations have no labelled spans. Leave out --spans.")
    items = inputs.items(settings.input, records, settings.limit, settings.output, arrays=True)
    parts = [each.name for each in items if each.start is not None or each.end is not None]
    span_given = start is not None or end is not None
    if parts and span_given:
        raise ValueError(
            f"{listing(parts)}: the annotations say where these begin and end. Leave out --start "
            "and --end."
        )
    if settings.tracking_folder:
        if parts or span_given:
            raise ValueError(
                f"{listing(parts) or '--start, --end'}: expected whole videos with "
                "--tracking_folder, whose boxes are of every frame. Received: a span. Leave out "
                "--start, --end and --spans, or the tracking."
            )
        folder, suffix = settings.tracking_folder, settings.tracking_suffix
        paths = [tracklets.find(folder, suffix, item.name).absolute() for item in items]
        return tuple(  # made again when the tracklets change; without any an item fails
            dataclasses.replace(item, also=(path,) if path.is_file() else ())
            for item, path in zip(items, paths, strict=True)
        )
    if span_given:
        return tuple(dataclasses.replace(item, start=start, end=end) for item in items)
    return items


def _spans(record: Record, annotations: Annotations) -> Iterator[Record]:
    """A record for each labelled span of a clip, NAME/NUMBER_LABEL.

    Raises:
        ValueError: The spans are in frames, and their rate is unknown.
    """
    classes, begin = annotations.classes, record.start or 0.0
    for number, action in enumerate(record.actions):
        start, end = action.start, action.end
        if record.unit != "seconds":
            if not record.fps:
                raise ValueError(f"{record.name}: its spans are frames, and their rate is unknown.")
            # Half a frame earlier, so that no rounding decides about the first and the last frame.
            start, end = (max(0.0, (at - 0.5) / record.fps) for at in (start, end))
        label = re.sub(r"\W", "_", classes[action.label] if classes else str(action.label))
        yield dataclasses.replace(
            record,
            name=f"{record.name}/{number:03}_{label}",
            labels=(action.label,),
            actions=(),
            start=begin + start,
            end=begin + end,
        )
