"""Flags that several commands share; a flag may be defined only once in a process."""

from absl import flags

from common.arch import ARCHITECTURES

INPUT = flags.DEFINE_string("input", None, "Name or path of what to read.")
OUTPUT = flags.DEFINE_string("output", None, "Path of what to write.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is already there.")
ARCHITECTURE = flags.DEFINE_enum(
    "architecture",
    None,
    list(ARCHITECTURES),
    "Which network the weights are of, where their names fit several.",
)
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Weights: the name of a published checkpoint, or a path in any format."
)
