"""The card beside weights that were trained here, which says what they are and what they expect."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.flow.stamp import FlowStamp
from common.io import load_json, sha256, to_json, write_text
from common.preprocessing.contracts import InputContract

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What model.json says of model.safetensors beside it."""

    stream: str  # "rgb" or "flow"
    classes: tuple[str, ...]  # in the order of the logits
    contract: InputContract
    backend: str  # the package that trained them
    # By file name, the digest of the weights it began with; None is random ones.
    start: Mapping[str, str] | None = None
    flow: Mapping[str, Any] | None = None  # the `FlowStamp` of what it saw
    # The rest is set by `checkpoints.write_model`.
    architecture: str = ""  # a name in `common.arch.ARCHITECTURES`
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    step: int = 0
    averaged: bool = False  # whether the weights are the average over steps
    weights: str = ""  # SHA-256 of their file
    versions: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


def read(weights: str | os.PathLike[str]) -> ModelCard | None:
    """The card beside a file of weights, or None; `ValueError` if it is not of these weights."""
    weights = Path(weights)
    path = weights.with_suffix(".json")
    if weights.suffix != ".safetensors" or not path.exists():
        return None
    record = load_json(path)
    try:
        version = record.pop("format_version")
        card = _parsed(record) if version == FORMAT_VERSION else None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        text = f"{path}: expected what a training run says of {weights.name}: {error!r}. Move the "
        raise ValueError(f"{text}file away if it is another tool's.") from error
    if card is None:
        raise ValueError(
            f"{path}: expected a card of format version {FORMAT_VERSION}. Received: {version!r}. "
            "A later version of this software wrote it; use that one."
        )
    if card.weights != (actual := sha256("").of(weights)):
        raise ValueError(
            f"{path}: is of other weights than {weights}. Expected SHA-256 {card.weights}, got "
            f"{actual}. Keep the two files together, or move the card away."
        )
    return card


def write(weights: Path, card: ModelCard) -> None:
    """Writes the card of a file of weights beside it; a temporary file and a rename."""
    record = {"format_version": FORMAT_VERSION, **dataclasses.asdict(card)}
    write_text(weights.with_suffix(".json"), to_json(record))


def _parsed(record: dict[str, Any]) -> ModelCard:
    contract: dict[str, Any] = record.pop("contract")
    contract |= {name: tuple(v) for name, v in contract.items() if isinstance(v, list)}
    classes = tuple(record.pop("classes"))
    if record.get("flow") is not None:
        FlowStamp(**record["flow"])  # whoever compares flow makes one of it
    return ModelCard(contract=InputContract(**contract), classes=classes, **record)
