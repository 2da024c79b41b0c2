"""Converts a checkpoint into another format or dialect; the files' names say which.

    python -m convert --input=rgb_scratch --output=rgb_scratch.pt
    python -m convert --input=rgb_imagenet.pt --output=model.ckpt
    python -m convert --input=model.ckpt --output=i3d.safetensors --to=piergiaj

--input is a published name or a path: format, dialect, architecture and number of classes are
found out. --output ends in .pt or .pth (PyTorch), .safetensors, .ckpt (TensorFlow; the prefix
of its two files) or .pkl (Flax). What was written is read back and compared before it is kept.
"""

import dataclasses
from collections.abc import Sequence

from absl import app, flags

from common import command
from common.flags import INPUT, OUTPUT, OVERWRITE
from convert import hub
from convert.dialects import DIALECTS

TO = flags.DEFINE_enum(
    "to",
    None,
    list(DIALECTS),
    "Dialect to write; by default the usual one of the format. "
    + " ".join(f"{dialect.name}: {dialect.about}." for dialect in DIALECTS.values()),
)
for _flag in (INPUT, OUTPUT, OVERWRITE):
    flags.declare_key_flag(_flag.name)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command's flags."""

    input: str
    output: str
    to: str | None
    overwrite: bool


def describe(report: hub.Report) -> str:
    """What a conversion did, for people."""
    lines = [
        f"{report.source.format} ({report.source.dialect}) -> {report.path}:"
        f" {report.target.format} ({report.target.dialect})",
        f"{report.target.net.name}, {report.target.net.num_classes} classes,"
        f" {report.target.stream}: {len(report.target.arrays)} arrays,"
        f" {report.target.numbers:,} numbers, read back and found equal",
    ]
    if report.source.ignored:
        lines.append(f"{len(report.source.ignored)} arrays passed over: optimiser slots, counters")
    if report.source.narrowed:
        lines.append(f"{len(report.source.narrowed)} arrays rounded to float32")
    if report.folded_scale:
        lines.append("batch norm's scale multiplied into the kernels: the dialect has none")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    command.no_arguments(argv)
    for flag in (INPUT, OUTPUT):
        if not flag.value:
            raise app.UsageError(f"--{flag.name} is missing.")
    options = Options(INPUT.value, OUTPUT.value, TO.value, OVERWRITE.value)
    print(describe(hub.convert(options.input, options.output, options.to, options.overwrite)))


if __name__ == "__main__":
    command.run(main)
