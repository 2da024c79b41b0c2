"""The command `extract_features` of either framework: settings to a task, items to files.

A file of features holds an array [N, D] or [N, crops, D], float32, or with tracking one for each
individual: in .npy as a pickled dictionary, as tracklet extractors write it; in others by name,
which is "features" without tracking. The same features give the same bytes.
"""

import dataclasses
import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import flow, hardware, models
from common.annotations import Annotations, Record
from common.features import network, tracklets
from common.features.extract import Rows, extract
from common.features.network import Network
from common.features.settings import FORMATS, Settings, complete, presets_text
from common.io import listing, to_json
from common.jobs import inputs, runs
from common.jobs.task import Item
from common.models import MakePredictor
from common.settings import UsageError

NAME = "features"  # of the array where arrays have names and nobody is tracked

# Settings that change what is made, beside those of `extraction`.
_RECORDED = ("preset", "square_pixels", "source_fps", "video_w", "video_h", "format")

# A list of numbers in a JSON with a line for each; strings in JSON have no line ends.
_NUMBERS = re.compile(r"\[\n\s+([^\[\]{}\"]*?)\n\s+\]")


@dataclasses.dataclass(frozen=True)
class FeatureTask:
    """Makes NAME.npy, or another format, and NAME.json, which says what its rows are.

    Two streams are NAME_rgb.npy and NAME_flow.npy, or one file with their rows side by side.
    """

    backend: str  # the framework's package
    settings: Settings  # with nothing left open in their `extraction`
    networks: Mapping[str, Network]  # by stream

    command = "extract_features"

    def parameters(self) -> Mapping[str, object]:
        settings, computed = self.settings, None
        if "flow" in settings.streams:
            stored = {"stored": True}
            computed = stored if settings.flow else flow.describe(*settings.chosen_flow())
        return {
            "backend": self.backend,
            "streams": {stream: each.origin for stream, each in self.networks.items()},
            "extraction": dataclasses.asdict(settings.extraction),
            "flow": computed,
            "tracking": settings.tracking_folder is not None,
            "join": settings.join,
            **{name: getattr(settings, name) for name in _RECORDED},
        }

    def targets(self, item: Item) -> Sequence[str]:
        several = len(self.networks) > 1 and not self.settings.join
        names = [f"{item.name}_{stream}" for stream in self.networks] if several else [item.name]
        return [*(name + FORMATS[self.settings.format] for name in names), f"{item.name}.json"]

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        found, frames, fps = extract(item, self.settings, self.networks)
        if self.settings.join:
            streams = [*found.values()]
            joined = {
                name: Rows(np.concatenate([rows[name].array for rows in streams], axis=-1), spans)
                for name, (_, spans) in streams[0].items()
            }
            found = {"+".join(found): joined}
        *paths, sidecar = temporary
        for path, rows in zip(paths, found.values(), strict=True):
            arrays = {name: each.array for name, each in rows.items()}
            write(path, arrays, self.settings.tracking_folder is not None)
        record = {
            **self.parameters(),
            "source": item.source.name,
            "start": item.start,
            "end": item.end,
            "frames": frames,
            "versions": models.versions(self.backend),
            "arrays": {
                stream: {name: described(each, fps, item.start or 0) for name, each in rows.items()}
                for stream, rows in found.items()
            },
        }
        text = _NUMBERS.sub(lambda numbers: f"[{' '.join(numbers[1].split())}]", to_json(record))
        sidecar.write_text(text, encoding="utf-8")
        return {"frames": frames, "rows": sum(map(len, arrays.values()))}


def described(rows: Rows, fps: float | None, start: float) -> dict[str, object]:
    """Shape and rate of an array, and which frames and seconds its rows are of."""
    first, last = rows.spans.T
    columns: dict[str, object] = {"shape": list(rows.array.shape), "fps": fps}
    columns |= {"first": first.tolist(), "last": last.tolist()}
    for key, at in {"start": first, "center": (first + last) / 2, "end": last}.items():
        columns[key] = None if fps is None else (start + at / fps).round(6).tolist()
    return columns


def write(path: Path, arrays: Mapping[str, network.Floats], tracked: bool) -> None:
    """Writes arrays by individual, or one called "", in the format that the suffix says.

    `ValueError` if it cannot hold an individual's name, `ImportError` if it needs h5py.
    """
    named = {  # one byte order and C order, so that the same numbers are the same bytes
        name if tracked else NAME: np.ascontiguousarray(array, "<f4")
        for name, array in arrays.items()
    }
    if path.suffix == ".npy":
        np.save(path, np.array(named, object) if tracked else named[NAME], allow_pickle=tracked)
        return
    if path.suffix == ".safetensors":
        models.safetensors.write(path, named)
        return
    for name in named:
        if "\0" in name or {"", ".", "..", "file", "allow_pickle"} & {*name.split("/")}:
            raise ValueError(f"{path.suffix} cannot hold {name!r}; choose npy or safetensors.")
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **named)
        return
    with h5py().File(path, "w") as file:
        for name, array in named.items():
            file.create_dataset(name, data=array, track_times=False)


def h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError("HDF5 needs h5py. In a checkout: pip install '.[hdf5]'.") from error


def run(settings: Settings, make: MakePredictor, backend: str) -> int:
    """Extracts features with the predictors of a framework; returns the exit status."""
    if settings.show_presets:
        print(presets_text())
        return 0
    if not settings.input or not settings.output:
        raise UsageError(f"--{'output' if settings.input else 'input'} is needed")
    models.keep_freed_memory()
    task = create(settings, make, backend)
    items = find_items(settings)
    usual = min(4, hardware.processors())  # videos that are read at a time
    workers = usual if settings.workers is None else settings.workers
    engine = "ray" if settings.engine == "ray" else "threads"  # which share the network
    how = dataclasses.replace(settings, workers=workers, engine=engine)
    try:
        return runs.main(task, items, how)
    finally:
        network.clear()


def create(settings: Settings, make: MakePredictor, backend: str) -> FeatureTask:
    """Makes the task; reads each checkpoint once, and raises as `models.load`.

    `ValueError` if there is no such endpoint, or the network takes no such windows.
    """
    read = {}
    for stream, path in settings.checkpoints().items():
        model = models.load(path, stream, settings.architecture)
        if settings.extraction.rgb_range and stream == "rgb":
            low, high = settings.extraction.rgb_range
            fed = dataclasses.replace(model.contract, value_range=(low, high), mean=(), std=())
            model = dataclasses.replace(model, contract=fed)
        read[stream] = model
    settings = complete(settings, next(iter(read.values())))
    settings = dataclasses.replace(settings, join=settings.join and len(read) > 1)
    gpu = settings.device == "gpu" or (settings.device == "auto" and flow.on_gpu("auto"))
    networks = {}
    for stream, model in read.items():
        endpoint = network.find_endpoint(model.net, settings.extraction)
        usual = network.usual_batch(model.net, settings.extraction, gpu)  # checks the window, too
        size = settings.batch_size or usual
        networks[stream] = Network(make, settings, stream, endpoint, size, model)
    return FeatureTask(backend, settings, networks)


def find_items(settings: Settings) -> tuple[Item, ...]:
    """The items of --input (see `inputs.items`), with the span and tracklets of each."""
    known, records = settings.read_annotations(), None
    if known:
        records = list(known.records)
        if settings.spans:
            records = [part for record in records for part in _spans(record, known)]
    items = inputs.items(settings.input, records, settings.limit, settings.output, arrays=True)
    parts = [each.name for each in items if each.start is not None or each.end is not None]
    if parts and (settings.has_span or settings.tracking_folder):
        expected = "expected whole videos for --start, --end and --tracking_folder."
        raise ValueError(f"{listing(parts)}: {expected}")
    if settings.has_span:
        start, end = settings.start, settings.end
        return tuple(dataclasses.replace(item, start=start, end=end) for item in items)
    if settings.tracking_folder:
        folder, suffix = settings.tracking_folder.absolute(), settings.tracking_suffix
        found = []
        for item in items:
            path = tracklets.find(folder, suffix, item.name)
            also = (path,) if path.is_file() else ()  # an item is made again when they change
            found.append(dataclasses.replace(item, also=also))
        return tuple(found)
    return items


def _spans(record: Record, annotations: Annotations) -> Iterator[Record]:
    classes, begin = annotations.classes, record.start or 0.0
    for number, action in enumerate(record.actions):
        start, end = action.start, action.end
        if record.unit != "seconds":
            if not record.fps:
                raise ValueError(f"{record.name}: its spans are frames, and their rate is unknown.")
            # Half a frame earlier, so that no rounding decides about the first and the last frame.
            start, end = (max(0.0, (at - 0.5) / record.fps) for at in (start, end))
        label = re.sub(r"\W", "_", classes[action.label] if classes else str(action.label))
        name = f"{record.name}/{number:03}_{label}"
        yield dataclasses.replace(
            record, name=name, actions=(), start=begin + start, end=begin + end
        )
