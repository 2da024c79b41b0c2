"""Converts a checkpoint into another format or dialect."""

from dataclasses import dataclass, replace
from pathlib import Path

from common import command
from common.io import listing
from common.settings import UsageError, setting
from convert import changes, compare, hub
from convert import listing as tables
from convert.dialects import DIALECTS


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Converts a checkpoint into another format or dialect; the files' names say which.

    python -m convert --input=rgb_scratch --output=rgb_scratch.pt
    python -m convert --input=i3d_baseline_32x2_IN_pretrain_400k.pkl --output=r50.safetensors
    python -m convert --input=model.ckpt --output=i3d.pt --to=piergiaj --num_classes=101
    python -m convert --list
    """

    input: str | None = setting("Name of a published checkpoint, or path of any.", None)
    average: tuple[str, ...] = setting("Checkpoints to average, instead of --input.", ())
    output: str | None = setting("The file to write.", None)
    overwrite: bool = setting("Replace an output that is already there.", False)
    to: str | None = setting(
        "Dialect to write; by default the usual one of the format. --list says whose each is.",
        None,
        choices=[name for name, dialect in DIALECTS.items() if dialect.writable],
    )
    format: str | None = setting(
        "Format to write; by default what the ending of --output says.",
        None,
        choices=tuple(hub.SUFFIXES),
    )
    options: hub.ConversionOptions
    to_affine: bool = setting("Turn batch norm into scale and offset.", False)
    verify: bool = setting("Run the network with both files and compare.", False)
    list: bool = setting("Print formats, dialects and architectures.", False)


def main(settings: Settings) -> None:
    if settings.list:
        print(tables.table())
        return
    if bool(settings.input) == bool(settings.average):
        raise UsageError("give --input or --average")
    inputs = settings.average or (str(settings.input),)
    if not settings.output:
        raise UsageError("--output is missing")
    output, options = Path(settings.output), settings.options
    if output.resolve() in {Path(name).resolve() for name in inputs}:
        raise ValueError(f"{output} is what is read: write to another file.")
    checkpoints = [hub.load(name, options) for name in inputs]
    weights = source = hub.average(checkpoints) if len(inputs) > 1 else checkpoints[0]
    if settings.to_affine:
        net, arrays = changes.to_affine(weights.net, weights.arrays, options.allow)
        notes = (*weights.notes, "batch norm turned into scale and offset")
        weights = replace(weights, net=net, arrays=arrays, notes=notes)
    target = hub.write(weights, output, settings.to, settings.overwrite, options, settings.format)
    print(describe(source, target, options.adjust_eps))
    if settings.verify:
        if target.format not in hub.EXPORTS:
            # Changes for the dialect are undone, as they are for whoever reads the file.
            options = replace(options, architecture=target.net.name, num_classes=None)
            target = hub.read(output, options)
        print(compare.verify(source, target))


def describe(source: hub.Weights, target: hub.Weights, adjusted_eps: bool = False) -> str:
    """Returns what was written, for people, with notes on another eps unless it is adjusted."""
    lines = [
        f"{source.format} ({source.dialect}) -> {target.path}: {target.format} ({target.dialect})",
        f"{target.net.name}, {target.net.num_classes} classes, {target.stream}:"
        f" {len(target.arrays)} arrays, {target.numbers:,} numbers, read back and found equal",
    ]
    if source.ignored:
        lines.append(f"passed over: {listing(source.ignored, 3)}")
    lines += [f"note: {note}" for note in target.notes]
    for weights, when in ((source, "trained"), (target, "run")):
        eps = DIALECTS[weights.dialect].eps
        if eps is not None and not adjusted_eps:
            lines.append(
                f"note: {weights.dialect}'s own code has an eps of {eps:g} in place of"
                f" {changes.norm_eps(weights.net):g}; for weights that are {when} there, add"
                " --adjust_eps"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    command.start(main, Settings)
