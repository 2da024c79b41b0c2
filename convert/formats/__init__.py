"""Checkpoint files as `{native name: array}`: one module a format, each with the same members.

    NAME, SUFFIXES
    recognises(path)      by content, cheap, never raises
    files(path)           every file of the checkpoint, existing or to be written
    read(path)            {native name: array in native layout}, in stored order: views of the
                          file, or lazy where its numbers have to be converted first
    write(path, arrays)   a temporary file and a rename; not there where SUFFIXES is empty

Names and layouts stay as the file has them; `convert.dialects` gives them their meaning.
"""

from pathlib import Path
from types import ModuleType

from common.io import CheckpointError
from convert.formats import (
    caffe2_pkl,
    flax_msgpack,
    flax_pickle,
    mindspore_ckpt,
    mxnet_params,
    safetensors,
    tf1_checkpoint,
    tf1_v1_checkpoint,
    tf2_checkpoint,
    torch_pt,
)
from convert.formats._mapped_file import first_bytes, release

__all__ = ["FORMATS", "detect", "for_output", "release"]

# Asked in this order.
FORMATS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        *(tf1_checkpoint, tf2_checkpoint, tf1_v1_checkpoint, torch_pt, safetensors),
        *(caffe2_pkl, flax_pickle, flax_msgpack, mindspore_ckpt, mxnet_params),
    )
}


def detect(path: str | Path) -> ModuleType:
    """The format of the checkpoint at `path` (a file, a TensorFlow prefix, or a folder).

    Raises:
        FileNotFoundError: Nothing is there.
        PermissionError: It may not be read.
        CheckpointError: No format recognises it.
    """
    path = Path(path)
    for module in FORMATS.values():
        if module.recognises(path):
            return module
    tried = f"Tried: {', '.join(FORMATS)}"
    if path.is_dir():
        raise CheckpointError(
            f"{path}: a folder without a TensorFlow checkpoint (*.index). {tried}."
        )
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file, and no TensorFlow checkpoint {path}.index")
    if path.is_file():
        path.open("rb").close()  # one that may not be read is not empty: this says so
    start = first_bytes(path, 16)
    if not start:
        raise CheckpointError(f"{path}: the file is empty; fetch or write it again")
    if instead := _instead(start, path):
        raise CheckpointError(f"{path}: {instead}")
    raise CheckpointError(
        f"{path}: no known checkpoint format. {tried}. The file starts with"
        f" {start.hex(' ')} ({start!r})."
    )


def for_output(path: str | Path) -> ModuleType:
    """The format that the ending of `path` asks for.

    Raises:
        ValueError: No format has such an ending.
    """
    name = Path(path).name.lower()
    endings = {ending: module for module in FORMATS.values() for ending in module.SUFFIXES}
    for ending in sorted(endings, key=len, reverse=True):  # .flax.pickle before .pickle
        if name.endswith(ending):
            return endings[ending]
    raise ValueError(
        f"{path}: the ending chooses the format; expected one of {', '.join(sorted(endings))}"
    )


def _instead(start: bytes, path: Path) -> str:
    """What people have in place of a checkpoint most often, from its first bytes."""
    if start.startswith(b"version https://"):
        return "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
    if start.lstrip()[:1] == b"<":
        return "a web page, not the file itself: fetch the raw file"
    if start.startswith(b"\x1f\x8b"):
        return "compressed with gzip: unpack it first"
    if start.startswith(b"PK\3\4"):
        return "a ZIP archive, but not PyTorch's, which has a data.pkl: unpack it first"
    if path.suffix == ".onnx":
        return "an ONNX model, which can only be written: convert the weights it was made of"
    return ""
