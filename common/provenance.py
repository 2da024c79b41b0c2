"""What a result was made with: weights, clips, contracts and versions."""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.io import sha256
from common.preprocessing.contracts import InputContract
from convert.published import Checkpoint

# The distributions whose versions can change a number.
_DISTRIBUTIONS = {
    "i3d_tf": ("i3d", "numpy", "av", "tensorflow", "dm-sonnet"),
    "i3d_torch": ("i3d", "numpy", "av", "torch"),
}


def describe(
    backend: str,
    settings: Mapping[str, object],
    streams: Mapping[str, tuple[Path, Checkpoint | None]],
    contracts: Mapping[str, InputContract],
    clips: Mapping[str, NDArray[np.float32]],
) -> dict[str, object]:
    """A record that JSON can hold.

    Args:
        backend: The package that computed: a framework's, or an engine.
        settings: What was asked for.
        streams: By stream, the checkpoint's path and its row if it is a published one.
        contracts: By stream, how the clip was made.
        clips: By stream, what was fed.
    """
    return {
        **settings,
        "streams": {
            stream: {
                "checkpoint": row.name if row else str(path),
                "weights": weights(path, row),
                "clip": list(clips[stream].shape),
                "contract": dataclasses.asdict(contracts[stream]),
            }
            for stream, (path, row) in streams.items()
        },
        "backend": backend,
        "versions": versions(backend),
    }


def weights(path: Path, row: Checkpoint | None) -> dict[str, str]:
    """By file name, the digest that identifies the weights."""
    if row:
        return {file.file_name: str(file.digest) for file in row.files}
    from convert import formats  # knows which files make up a checkpoint

    files = formats.detect(path).files(path)
    identity = sha256("")
    return {file.name: f"sha256 {identity.of(file)}" for file in sorted(files)}


def versions(backend: str) -> dict[str, str | None]:
    """Versions of Python and what computes; None for what is not installed as a package."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS.get(backend, ("i3d", "numpy", "av")):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def to_json(record: Mapping[str, object]) -> str:
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A file's name may hold bytes that are no UTF-8: they are escaped, as JSON does it.
    return text.encode(errors="backslashreplace").decode()
