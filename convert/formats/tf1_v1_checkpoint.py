"""TensorFlow's V1 checkpoints, one file with index and data, as TF-slim published them before 2017.

Recognised here, read through TensorFlow; never written.
"""

import importlib
import re
from pathlib import Path

import numpy as np

from common.io import CheckpointError
from convert.arrays import Array
from convert.formats import _leveldb_table, tf1_checkpoint
from convert.formats._mapped_file import last_bytes, one_error, single_file

NAME = "tf1_v1_checkpoint"
SUFFIXES = ()

_SHARD = re.compile(r".+-\d{5}-of-(\d{5})")

files = single_file


def recognises(path: Path) -> bool:
    """Whether `path` is one file: a table that begins with the list of its tensors."""
    path = Path(path)
    is_table = last_bytes(path, len(_leveldb_table.MAGIC)) == _leveldb_table.MAGIC
    return is_table and tf1_checkpoint.kind_of(path) == "v1"


def read(path: Path) -> dict[str, Array]:
    """All numeric tensors in name order; slices are joined, bfloat16 is widened to float32.

    Raises:
        CheckpointError: The file is damaged, one of several that belong together, or holds no
            array; or TensorFlow is not installed.
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    with one_error(path):
        path.open("rb").close()  # TensorFlow's error for a missing file is about something else
        match = _SHARD.fullmatch(path.name)
        if match and int(match[1]) != 1:
            raise ValueError(
                f"is one of the {int(match[1])} files of a V1 checkpoint, which is not supported;"
                " save it in TensorFlow with tf.train.Saver(sharded=False)"
            )
        if not recognises(path):
            raise ValueError("is no TensorFlow V1 checkpoint, or a damaged one")
        try:
            importlib.import_module("i3d_tf")  # before TensorFlow, see there
            tf = importlib.import_module("tensorflow")
        except ImportError as error:
            raise CheckpointError(
                f"{path}: reading a TensorFlow V1 checkpoint (one file, from before 2017) needs"
                " TensorFlow. In a checkout: pip install '.[tf]'"
            ) from error
        types = tf.compat.v1.train.NewCheckpointReader(str(path)).get_variable_to_dtype_map()
        arrays: dict[str, Array] = {}
        for name in sorted(types):
            if types[name] != tf.string:
                tensor = tf.raw_ops.Restore(
                    file_pattern=str(path), tensor_name=name, dt=types[name]
                )
                wide = tf.cast(tensor, tf.float32) if types[name] == tf.bfloat16 else tensor
                arrays[name] = np.asarray(wide)
        if not arrays:
            raise ValueError("holds no array")
        return arrays
