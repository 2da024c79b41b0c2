"""Items to files of features: a task, which runs of `common.jobs` do."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common import flow, models, provenance
from common.features import extracting, extraction, network, outputs
from common.features.extracting import Tracking
from common.features.extraction import Extraction
from common.features.network import Source
from common.features.outputs import Features
from common.features.reading import Reader
from common.jobs.task import Item
from common.models import MakePredictor
from common.preprocessing import contracts


@dataclasses.dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        checkpoints: By stream, a published name or a file.
        extraction: The settings; what is open in them is filled from the weights.
        architecture: Where the names of the weights do not say it.
        precision: One of `recipes.PRECISIONS`.
        device: "auto", "cpu" or "gpu".
        batch_size: Windows that the network sees at once; None is what keeps it busy.
        reader: Of frames.
        tracking: Tracklets; None takes whole frames.
        join: Two streams side by side in one file.
        format: One of `outputs.FORMATS`.
        preset: Its name, for the record.
    """

    checkpoints: Mapping[str, str]
    extraction: Extraction = dataclasses.field(default_factory=Extraction)
    architecture: str | None = None
    precision: str = "float32"
    device: str = "auto"
    batch_size: int | None = None
    reader: Reader = dataclasses.field(default_factory=Reader)
    tracking: Tracking | None = None
    join: bool = False
    format: str = "npy"
    preset: str | None = None


@dataclasses.dataclass(frozen=True)
class FeatureTask:
    """Makes NAME.npy, or another format, and NAME.json, which says what its rows are.

    Of two streams there are NAME_rgb.npy and NAME_flow.npy, or one file with their rows side by
    side.

    Attributes:
        backend: The framework's package.
        sources: Of the network of each stream.
        origin: What the networks are, for the record: by stream, weights and contract.
        extraction: `filled`.
        reader: Of frames.
        tracking: Tracklets; None takes whole frames.
        join: Two streams side by side.
        format: One of `outputs.FORMATS`.
        preset: Its name, for the record.
    """

    backend: str
    sources: tuple[Source, ...]
    origin: Mapping[str, Mapping[str, object]]
    extraction: Extraction
    reader: Reader
    tracking: Tracking | None = None
    join: bool = False
    format: str = "npy"
    preset: str | None = None

    command = "extract_features"

    def parameters(self) -> Mapping[str, object]:
        tracking = self.tracking
        return {
            "backend": self.backend,
            "preset": self.preset,
            "streams": self.origin,
            "extraction": dataclasses.asdict(self.extraction),
            "flow": self._flow(),
            "tracking": tracking and {"suffix": tracking.suffix, "size": tracking.size},
            "join": self.join,
            "format": self.format,
        }

    def targets(self, item: Item) -> Sequence[str]:
        streams = [source.stream for source in self.sources]
        names = [f"{item.name}_{stream}" for stream in streams]
        if self.join or len(streams) == 1:
            names = [item.name]
        return [*(name + outputs.FORMATS[self.format] for name in names), f"{item.name}.json"]

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        nets = {source.stream: network.load(source) for source in self.sources}
        found, frames = extracting.extract(item, self.extraction, self.reader, nets, self.tracking)
        if self.join and len(found) > 1:
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
        for path, features in zip(paths, found.values(), strict=True):
            outputs.write(path, features, record, self.tracking is not None)
        outputs.write_sidecar(sidecar, found, record)
        arrays = next(iter(found.values())).arrays
        return {"frames": frames, "rows": sum(map(len, arrays.values()))}

    def _flow(self) -> Mapping[str, object] | None:
        if not any(source.stream == "flow" for source in self.sources):
            return None
        if self.reader.flow:
            return {"stored": True}
        return {
            "engine": self.reader.engine, "parameters": dataclasses.asdict(self.reader.params)
        }  # fmt: skip


def create(options: Options, make: MakePredictor, backend: str) -> FeatureTask:
    """The task that does what is asked for, with the predictors of a framework.

    Raises:
        CheckpointError, FileNotFoundError: A checkpoint cannot be read.
        ValueError: It is of another stream; there is no such endpoint; or a window is shorter than
            the network takes.
    """
    loaded = {
        stream: models.load(checkpoint, stream, options.architecture)
        for stream, checkpoint in options.checkpoints.items()
    }
    first = next(iter(loaded.values()))
    usual = contracts.usual(first.net.name).frames
    settings = options.extraction
    if options.tracking:  # boxes are of every frame as it is
        settings = dataclasses.replace(settings, fps=0.0, resize=0, size=(), least_side=0)
    settings = extraction.filled(settings, first.contract, usual)
    origin, sources = {}, []
    for stream, each in loaded.items():
        endpoint = extraction.rows_endpoint(each.net, settings)
        usual_batch = network.batch_size(each.net, settings, _on_gpu(options.device))
        source = Source(
            make=make,
            stream=stream,
            checkpoint=str(each.path),
            architecture=options.architecture,
            endpoint=endpoint,
            precision=options.precision,
            device=options.device,
            batch_size=options.batch_size or usual_batch,
            side=settings.crop or each.contract.crop,
            average=settings.mode != "dense",
            values=settings.values,
        )
        sources.append(source)
        origin[stream] = {
            "architecture": each.net.name,
            "weights": each.digests,
            "contract": dataclasses.asdict(network.contract_of(each, settings.values)),
            "endpoint": endpoint,
            "precision": options.precision,
        }
    return FeatureTask(
        backend=backend,
        sources=tuple(sources),
        origin=origin,
        extraction=settings,
        reader=options.reader,
        tracking=options.tracking,
        join=options.join and len(loaded) > 1,
        format=options.format,
        preset=options.preset,
    )


def _on_gpu(device: str) -> bool:
    return device == "gpu" or (device == "auto" and flow.on_gpu("auto"))


def _joined(streams: Sequence[Features]) -> Features:
    """The rows of several streams side by side."""
    arrays = {
        name: np.concatenate([features.arrays[name] for features in streams], axis=-1)
        for name in streams[0].arrays
    }
    return Features(arrays, streams[0].rows)
