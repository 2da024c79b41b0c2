"""Checkpoint files as `{native name: array}`: one module a format, each with the same members.

    NAME, SUFFIXES
    recognises(path)      by content, cheap, never raises
    files(path)           every file of the checkpoint, existing or to be written
    read(path)            {native name: array in native layout}, in stored order: views of the
                          file, or lazy where its numbers have to be converted first
    write(path, arrays)   a temporary file and a rename; not there where SUFFIXES is empty

Names and layouts stay as the file has them. A file that is damaged, malicious or holds no array,
and an array that a format cannot hold, are a CheckpointError that names the file.
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
    tf2_checkpoint,
    torch_pt,
)
from convert.formats._raw import part, release

__all__ = ["FORMATS", "detect", "release"]

FORMATS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        *(tf1_checkpoint, tf2_checkpoint, torch_pt, safetensors),
        *(caffe2_pkl, flax_pickle, flax_msgpack, mindspore_ckpt, mxnet_params),
    )
}

# What people have in place of a checkpoint most often, by its first bytes.
_INSTEAD = {
    b"version https://": "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`",
    b"<": "a web page, not the file itself: fetch the raw file",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"PK\3\4": "a ZIP archive, but not PyTorch's, which has a data.pkl: unpack it first",
}


def detect(path: str | Path) -> ModuleType:
    """The format of the checkpoint at `path` (a file, a TensorFlow prefix, or a folder).

    Raises CheckpointError if no format recognises it, FileNotFoundError if nothing is there.
    """
    path = Path(path)
    for module in FORMATS.values():
        if module.recognises(path):
            return module
    if path.is_dir():
        raise CheckpointError(f"{path}: a folder without a TensorFlow checkpoint (*.index).")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file, and no TensorFlow checkpoint {path}.index")
    if path.is_file():
        path.open("rb").close()  # one that may not be read is not empty: this says so
    start = part(path, 0, 16)
    text = f"no known checkpoint format. Tried: {', '.join(FORMATS)}. It starts with {start!r}."
    if not start:
        text = "the file is empty; fetch or write it again"
    known = (_INSTEAD[bytes] for bytes in _INSTEAD if start.lstrip().startswith(bytes))
    raise CheckpointError(f"{path}: {next(known, text)}")
