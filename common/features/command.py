"""The command `extract_features` of either framework: settings to a task, items to files."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common import flow, memory, models, processors, provenance
from common.annotations import Action, Annotations, Record
from common.features import network, outputs, presets, tracklets
from common.features.extract import extract
from common.features.network import Source
from common.features.outputs import Rows
from common.features.settings import FORMATS, Settings, complete, find_endpoint
from common.io import listing
from common.jobs import inputs, runs
from common.jobs.task import Item
from common.models import MakePredictor, Model
from common.settings import UsageError

_READERS = 4  # videos that are read at a time, at most, unless --workers says it


@dataclasses.dataclass(frozen=True)
class FeatureTask:
    """Makes NAME.npy, or another format, and NAME.json, which says what its rows are.

    Of two streams there are NAME_rgb.npy and NAME_flow.npy, or one file with their rows side by
    side.

    Attributes:
        backend: The framework's package.
        settings: Those of the command, with nothing left open in their `extraction`.
        sources: Source of the network of each stream.
        origin: What the networks are, for the record: by stream, weights and contract.
    """

    backend: str
    settings: Settings
    sources: tuple[Source, ...]
    origin: Mapping[str, Mapping[str, object]]

    command = "extract_features"

    @property
    def joined(self) -> bool:
        """Whether the rows of two streams are in one file."""
        return self.settings.join and len(self.sources) > 1

    def parameters(self) -> Mapping[str, object]:
        settings = self.settings
        flow_record: dict[str, object] | None = None
        if settings.flow:
            flow_record = {"stored": True}
        elif "flow" in settings.streams:
            engine, params = settings.chosen_flow()
            flow_record = {"engine": engine, "parameters": dataclasses.asdict(params)}
        tracking: dict[str, object] | None = None
        if settings.tracking_folder:
            size = (settings.video_w, settings.video_h) if settings.video_w else ()
            tracking = {"suffix": settings.tracking_suffix, "size": size}
        return {
            "backend": self.backend,
            "preset": settings.preset,
            "streams": self.origin,
            "extraction": dataclasses.asdict(settings.extraction),
            "square_pixels": settings.square_pixels,
            "source_fps": settings.source_fps,
            "flow": flow_record,
            "tracking": tracking,
            "join": self.joined,
            "format": settings.format,
        }

    def targets(self, item: Item) -> Sequence[str]:
        names = [f"{item.name}_{source.stream}" for source in self.sources]
        if self.joined or len(names) == 1:
            names = [item.name]
        return [*(name + FORMATS[self.settings.format] for name in names), f"{item.name}.json"]

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        networks = {source.stream: network.load(source) for source in self.sources}
        found, frames, fps = extract(item, self.settings, networks)
        if self.joined:
            found = {"+".join(found): _joined([*found.values()])}
        record = {
            **self.parameters(),
            "source": item.source.name,
            "start": item.start,
            "end": item.end,
            "frames": frames,
            "versions": provenance.versions(self.backend),
        }
        *paths, sidecar = temporary
        for path, rows in zip(paths, found.values(), strict=True):
            arrays = {name: each.array for name, each in rows.items()}
            outputs.write(path, arrays, record, self.settings.tracking_folder is not None)
        outputs.write_sidecar(sidecar, found, record, fps, item.start or 0.0)
        return {"frames": frames, "rows": sum(map(len, arrays.values()))}


def run(settings: Settings, make: MakePredictor, backend: str) -> int:
    """Extracts features with the predictors of a framework; returns the exit status."""
    if settings.show_presets:
        print(presets.text())
        return 0
    if not settings.input or not settings.output:
        raise UsageError(f"--{'output' if settings.input else 'input'} is needed")
    memory.keep()
    task = create(settings, make, backend)
    items = find_items(settings)
    workers = settings.workers
    if workers is None:
        workers = min(_READERS, processors.count())
    how = dataclasses.replace(
        settings.for_run(items),
        workers=min(workers, len(items)),
        engine="ray" if settings.engine == "ray" else "threads",  # which share the network
    )
    try:
        report = runs.run(task, items, how)
    finally:
        network.give_up()
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
    loaded = {
        stream: models.load(checkpoint, stream, settings.architecture)
        for stream, checkpoint in settings.checkpoints.items()
    }
    extraction = complete(settings, next(iter(loaded.values())))
    engine = settings.flow_engine
    if "flow" in loaded:
        engine, _ = settings.chosen_flow()
    gpu = settings.device == "gpu" or (settings.device == "auto" and flow.on_gpu("auto"))
    origin: dict[str, dict[str, object]] = {}
    sources: dict[Source, Model] = {}
    settled = dataclasses.replace(settings, extraction=extraction, flow_engine=engine)
    for stream, model in loaded.items():
        model = network.with_range(model, extraction.rgb_range)
        usual = network.batch_size(model.net, extraction, gpu)  # which checks the window, too
        source = Source(
            make=make,
            settings=settled,
            stream=stream,
            checkpoint=str(model.path),
            endpoint=find_endpoint(model.net, extraction),
            batch_size=settings.batch_size or usual,
        )
        sources[source] = model
        origin[stream] = {
            "architecture": model.net.name,
            "weights": model.digests,
            "contract": dataclasses.asdict(model.contract),
            "endpoint": source.endpoint,
            "precision": settings.precision,
        }
    network.offer(sources)
    return FeatureTask(backend, settled, tuple(sources), origin)


def _joined(streams: Sequence[Mapping[str, Rows]]) -> dict[str, Rows]:
    """The rows of several streams side by side."""
    return {
        name: Rows(
            np.concatenate([rows[name].array for rows in streams], axis=-1), streams[0][name].spans
        )
        for name in streams[0]
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
    if start is not None or end is not None:
        if cut := [item.name for item in items if _is_part(item)]:
            raise ValueError(
                f"{listing(cut)}: the annotations say where these begin and end. Leave out --start "
                "and --end."
            )
        items = tuple(dataclasses.replace(item, start=start, end=end) for item in items)
    if settings.tracking_folder:
        folder, suffix = settings.tracking_folder, settings.tracking_suffix
        return tuple(_with_tracklets(item, folder, suffix) for item in items)
    return items


def _is_part(item: Item) -> bool:
    return item.start is not None or item.end is not None


def _with_tracklets(item: Item, folder: Path, suffix: str) -> Item:
    """The item, which is made again when its tracklets change; without any it fails."""
    if _is_part(item):
        raise ValueError(
            f"{item.name}: expected whole videos with --tracking_folder, whose boxes are of every "
            "frame. Received: a span of one. Leave out --start, --end and --spans, or the tracking."
        )
    path = tracklets.find(folder, suffix, item.name)
    return dataclasses.replace(item, also=(path.absolute(),) if path.is_file() else ())


def _spans(record: Record, annotations: Annotations) -> Iterable[Record]:
    """A record for each labelled span of a clip, NAME/NUMBER_LABEL."""
    for number, action in enumerate(record.actions):
        classes = annotations.classes
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
    """Where a span begins and ends in the file.

    Raises:
        ValueError: It is in frames, and their rate is unknown.
    """
    begin = record.start or 0.0
    if record.unit == "seconds":
        return begin + action.start, begin + action.end
    if not record.fps:
        raise ValueError(f"{record.name}: its spans are frames, and their rate is not known.")
    # Half a frame earlier, so that no rounding decides about the first and the last frame.
    first, last = (max(0.0, (at - 0.5) / record.fps) for at in (action.start, action.end))
    return begin + first, begin + last
