"""Flags of commands in PyTorch alone."""

from absl import app, flags

from common import engines
from common.flags import ENGINE

COMPILED = flags.DEFINE_bool(
    "compiled",
    False,
    "Have PyTorch compile the network for each size of clips, which takes it up to minutes; for "
    "GPUs, as on a CPU nothing is gained.",
)


def is_compiled() -> bool:
    """What --compiled says.

    Raises:
        UsageError: --engine has the network run by something else.
    """
    others = [name for name in ENGINE.value if name in engines.PRECISIONS]
    if COMPILED.value and others:
        raise app.UsageError(f"--compiled and --engine={others[0]} exclude each other.")
    compiled: bool = COMPILED.value
    return compiled
