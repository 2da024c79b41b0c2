"""Formats of whole models, which are only written.

Each is a module that is imported on demand:

    write(path, net, arrays)    writes the model with its weights
    read_back(path, net)        {canonical name: array} of what `write` wrote, bit by bit
    run(path, clips)            {endpoint: array} of clips [B, T, H, W, C], in the format's runtime

`arrays` are those of `common.arch.parameters(net)`: float32 by canonical name, kernels
[out, in, T, H, W]. They may be strided and read-only.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Export:
    """A format of whole models.

    Attributes:
        name: Its name on the command line.
        suffix: The ending of its files.
        module: The name of the module.
        runtime: The package that runs its models.
        marker: A file by which a folder of this format is recognised; empty where it is a file.
    """

    name: str
    suffix: str
    module: str
    runtime: str
    marker: str = ""

    def load(self) -> ModuleType:
        """Imports the module; an ImportError says which extra to install."""
        return importlib.import_module(self.module)

    def is_at(self, path: Path) -> bool:
        """Whether a model of this format may be there, which a new one may replace."""
        return (path / self.marker).is_file()


_ALL = (
    Export("onnx", ".onnx", "convert.exports.onnx", "onnxruntime"),
    Export("saved_model", ".savedmodel", "i3d_tf.saved_model", "tensorflow", "saved_model.pb"),
)

EXPORTS = {export.name: export for export in _ALL}
"""Every export by name."""
