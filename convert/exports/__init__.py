"""Whole graphs that are only written: one module a format, each with the same five members.

    NAME, SUFFIXES
    files(path)                 what is written at `path`: a file, or a folder as one
    replaceable(path)           whether what is there may be replaced by a new one
    write(path, net, arrays)    a temporary file or folder and a rename
    read_back(path, net)        {canonical name: array}, to compare with what was written

`arrays` are those of `common.arch.parameters(net)`: float32 by canonical name, kernels
[out, in, T, H, W]. They may be strided and read-only. `read_back` gives the same arrays again, bit
by bit; it reads what `write` wrote, and no files of other makers.
"""

from pathlib import Path
from types import ModuleType

from convert.exports import onnx, saved_model

EXPORTS: dict[str, ModuleType] = {module.NAME: module for module in (onnx, saved_model)}
"""Every export by name."""


def for_output(path: str | Path) -> ModuleType | None:
    """The export that the ending of `path` asks for; None if it asks for none."""
    name = Path(path).name.lower()
    return next((m for m in EXPORTS.values() if name.endswith(m.SUFFIXES)), None)
