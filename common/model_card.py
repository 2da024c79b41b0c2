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
    """What model.json says of model.safetensors beside it.

    Attributes:
        stream: "rgb" or "flow".
        classes: Names, in the order of the logits.
        contract: What the frames of a clip must be.
        backend: The package that trained them.
        start: By file name, the digest of the weights it began with; None is random ones.
        flow: The stamp of the flow it saw, as JSON can hold it; None for RGB, or without a stamp.
        architecture: A name in `common.arch.ARCHITECTURES`; this and what follows is set by
            `checkpoints.write_model`.
        recipe: As JSON can hold it.
        step: Steps that were done.
        averaged: Whether the weights are the average over steps.
        weights: SHA-256 of the weights' file.
        versions: Of what computed.
    """

    stream: str
    classes: tuple[str, ...]
    contract: InputContract
    backend: str
    start: Mapping[str, str] | None = None
    flow: Mapping[str, Any] | None = None
    architecture: str = ""
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    step: int = 0
    averaged: bool = False
    weights: str = ""
    versions: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


def read(weights: str | os.PathLike[str]) -> ModelCard | None:
    """The card beside a file of weights; None where there is none.

    Raises:
        ValueError: It is no card, or that of other weights.
    """
    weights = Path(weights)
    path = weights.with_suffix(".json")
    if weights.suffix != ".safetensors" or not path.exists():
        return None
    record = load_json(path)
    try:
        version = record.pop("format_version")
        card = _parsed(record) if version == FORMAT_VERSION else None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected what a training run says of {weights.name}. Received something else "
            f"({type(error).__name__}: {error}). Move the file away if it is another tool's."
        ) from error
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
    contract: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.pop("contract").items()
    }
    classes = tuple(record.pop("classes"))
    card = ModelCard(contract=InputContract(**contract), classes=classes, **record)
    if card.flow is not None:
        FlowStamp(**card.flow)  # whoever compares flow makes one of it
    return card
