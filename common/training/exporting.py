"""The weights at the end of a run: in our own format with a card, and in other tools' names.

OUTPUT/model.safetensors, model.json              the last, or their average
OUTPUT/model_best.safetensors, model_best.json    those that were best in validation
OUTPUT/model_piergiaj.pt                          the last again, for --export=piergiaj
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import arch, model_card, provenance
from common.io import CheckpointError, sha256
from common.model_card import ModelCard
from common.training.snapshot import ARCHITECTURE, Snapshot, as_array
from common.training.start import Start

_GLOBAL = "_global"

# Whose files are those of another dialect.
_LIKE = {"kinetics_i3d_600": "kinetics_i3d", "mindspore_finetuned": "mindspore"}

BEST = "model_best"
"""Name of the files of the best weights, beside the last."""


def finish(folder: Path, snapshot: Snapshot, card: ModelCard, name: str = "model") -> Path:
    """Writes the weights of a snapshot, averaged where it has an average, and their card.

    Args:
        folder: Of the run.
        snapshot: The last, or the best.
        card: What the snapshot does not say; the rest is filled in.
        name: Of both files, before the ending.

    Returns:
        The path of the weights.

    Raises:
        ValueError: There are more or fewer names than classes.
        OSError: The disk takes no more; each file is whole, or as it was.
    """
    from convert.formats import safetensors

    if len(card.classes) != snapshot.num_classes:
        raise ValueError(
            f"expected the names of {snapshot.num_classes} classes. Received: {len(card.classes)}."
        )
    path = folder / f"{name}.safetensors"
    tag = {ARCHITECTURE: as_array(snapshot.architecture)}
    safetensors.write(path, snapshot.weights(averaged=True) | tag)
    card = dataclasses.replace(
        card,
        architecture=snapshot.architecture,
        recipe=snapshot.recipe,
        step=snapshot.step,
        averaged=snapshot.has_average,
        weights=sha256("").of(path),
        versions=provenance.versions(card.backend),
    )
    model_card.write(path, card)
    return path


def check(begin: Start, dialects: Sequence[str]) -> None:
    """Refuses before a run what could not be written after it, by writing its first weights.

    Raises:
        ValueError: There is no such dialect, or it has no names for the network.
        CheckpointError: It cannot hold the network exactly.
    """
    from convert import hub

    with tempfile.TemporaryDirectory() as folder:
        weights = hub.Weights(_written(begin.net), begin.arrays)
        for dialect in dialects:
            path = Path(folder) / f"model_{dialect}{_suffix(dialect)}"
            try:
                hub.write(weights, path, dialect)
            except CheckpointError as error:
                raise CheckpointError(
                    f"--export={dialect}: {str(error).removeprefix(f'{path}: ')} A run does not: "
                    "leave the dialect out, and use `python -m convert` on the weights at its end."
                ) from error


def export(weights: Path, begin: Start, dialects: Sequence[str]) -> list[Path]:
    """Writes the weights of a run beside them, once in each dialect; returns the paths.

    Raises:
        CheckpointError: What was written reads differently.
    """
    from convert import hub

    written = []
    for dialect in dialects:
        path = weights.with_name(f"{weights.stem}_{dialect}{_suffix(dialect)}")
        read = hub.read(weights)
        hub.write(dataclasses.replace(read, net=_written(begin.net)), path, dialect, overwrite=True)
        written.append(path)
    return written


def _written(net: arch.Network) -> arch.Network:
    """The network that others know these weights as: how a head pools is in no file."""
    if not net.name.endswith(_GLOBAL):
        return net
    return dataclasses.replace(net, name=net.name.removesuffix(_GLOBAL))


def _suffix(dialect: str) -> str:
    """What the files of those who own a dialect end in: torch's, where no other format is usual."""
    from convert import formats, hub

    dialect = _LIKE.get(dialect, dialect)
    usual = {name: among for name, among in hub.USUAL_DIALECTS.items() if dialect in among}
    if not usual:
        return ".pt"
    first = min(usual, key=lambda name: usual[name].index(dialect))
    suffixes: tuple[str, ...] = formats.FORMATS[first].SUFFIXES
    return min(suffixes, key=len)
