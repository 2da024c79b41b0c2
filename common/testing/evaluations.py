"""Evaluations of a small data set, by predictors whose logits say what they were shown."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.evaluation.command import Settings
from common.flow.stamp import FlowStamp
from common.model_card import ModelCard
from common.models import Model
from common.preprocessing.contracts import CHANNELS, FLOW_CONTRACT, RGB_CONTRACT, InputContract
from common.testing.data import CLASSES, STAMP
from common.training import checkpoints
from common.training.checkpoints import Snapshot
from common.video.clip_reader import Source

CONTRACTS = {
    stream: dataclasses.replace(contract, frames=8, short_side=32, crop=32)
    for stream, contract in (("rgb", RGB_CONTRACT), ("flow", FLOW_CONTRACT))
}
BRIGHTNESS = np.array([50, 200, 120], np.float32)
DIRECTIONS = np.array([(-0.2, 0), (0.2, 0), (0, 0.2)], np.float32)
NAMES = ("dark/validation_0", "light/validation_1", "striped/validation_2")


class Predictor:
    """Logits are how near a frame is to what is usual of each class."""

    def __init__(self, net: arch.Network, contract: InputContract):
        self.net, self.contract = net, contract
        self.clips: list[NDArray[Any]] = []

    def frame_scores(self, clips: NDArray[Any]) -> NDArray[np.float32]:
        self.clips += list(clips)
        known = BRIGHTNESS[:, None] if clips.dtype == np.uint8 else DIRECTIONS
        means = clips.mean(axis=(2, 3)).astype(np.float32)
        means = means.mean(axis=-1, keepdims=True) if clips.dtype == np.uint8 else means
        logits = -np.linalg.norm(means[..., None, :] - known, axis=-1)
        spare = np.full((*logits.shape[:-1], self.net.num_classes - 3), -1000, np.float32)
        return np.concatenate([logits, spare], axis=-1)

    def scores(self, clips: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self.frame_scores(clips).mean(axis=1)
        return logits

    def features(self, clips: NDArray[Any], endpoint: str) -> NDArray[np.float32]:
        raise NotImplementedError


class Maker:
    """Makes predictors, and keeps them."""

    def __init__(self) -> None:
        self.made: list[Predictor] = []

    def __call__(
        self,
        model: Model,
        *,
        endpoints: Sequence[str] = (),
        device: str = "auto",
        precision: str = "float32",
    ) -> Predictor:
        self.precision = precision
        arch.check_arrays(model.net, model.arrays)
        self.made.append(Predictor(model.net, model.contract))
        return self.made[-1]


def write_weights(
    folder: Path,
    stream: str = "rgb",
    classes: Sequence[str] = CLASSES,
    flow: FlowStamp | None = STAMP,
    count: int | None = None,
    task: str = "classes",
) -> str:
    """Weights as a run leaves them, with their card."""
    net = arch.make("inception_i3d_global", count or len(classes), CHANNELS[stream])
    snapshot = Snapshot(
        3, net.name, net.num_classes, net.in_channels, arch.initial_arrays(net), {"task": task}, {}
    )
    made = dataclasses.asdict(flow) if flow and stream == "flow" else None
    card = ModelCard(stream, tuple(classes), CONTRACTS[stream], "i3d_torch", flow=made)
    return str(checkpoints.write_model(folder / stream, snapshot, card))


def make_settings(
    data: tuple[Path, Source],
    tmp_path: Path,
    checkpoints: Mapping[str, str] | None = None,
    **changes: Any,
) -> Settings:
    """Settings that evaluate the small data set, by default RGB with weights made for it."""
    path, source = data
    checkpoints = checkpoints or {"rgb": write_weights(tmp_path)}
    return Settings(
        annotations=path,
        output=tmp_path / "results",
        streams=tuple(checkpoints),
        rgb=source.rgb,
        flow=source.flow,
        rgb_checkpoint=checkpoints.get("rgb"),
        flow_checkpoint=checkpoints.get("flow"),
        **{"workers": 0, **changes},
    )


def read_results(tmp_path: Path) -> Any:
    """What the evaluation wrote."""
    return json.loads((tmp_path / "results/results.json").read_text())
