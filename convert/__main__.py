"""Converts a checkpoint into another format or dialect."""

from dataclasses import dataclass, replace
from pathlib import Path

from common import command
from common.io import listing
from common.settings import UsageError, setting
from convert import changes, hub, verify
from convert import listing as tables
from convert.dialects import DIALECTS
from convert.exports import EXPORTS
from convert.formats import FORMATS


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Converts a checkpoint into another format or dialect; the files' names say which.

        python -m convert --input=rgb_scratch --output=rgb_scratch.pt
        python -m convert --input=i3d_baseline_32x2_IN_pretrain_400k.pkl --output=r50.safetensors
        python -m convert --input=model.ckpt --output=i3d.pt --to=piergiaj --num_classes=101
        python -m convert --list

    Format, dialect, architecture and number of classes of the input are found out. The output is
    read back and compared before it is kept.
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
        choices=[*(name for name, module in FORMATS.items() if module.SUFFIXES), *EXPORTS],
    )
    options: hub.ConversionOptions
    to_affine: bool = setting("Turn batch norm into scale and offset.", False)
    verify: bool = setting("Run the network with both files and compare.", False)
    list: bool = setting("Print formats, dialects and architectures.", False)


def main(settings: Settings) -> None:
    """Converts, and prints what was done, a line for each thing.

    Raises:
        CheckpointError: An input is damaged or unknown, inputs that are averaged differ in
            kind, or what was written reads differently.
        FileExistsError: The output exists and may not be replaced.
        ValueError: A setting is not possible.
    """
    if settings.list:
        print(tables.table())
        return
    if settings.input and settings.average:
        raise UsageError("give --input or --average, not both")
    inputs = settings.average or ((settings.input,) if settings.input else ())
    if not inputs:
        raise UsageError("--input is missing")
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
    report = hub.write(weights, output, settings.to, settings.overwrite, options, settings.format)
    print(describe(report, options.adjust_eps))
    if settings.verify:
        if report.target.format not in EXPORTS:
            # Changes for the dialect are undone, as they are for whoever reads the file.
            options = replace(options, architecture=report.target.net.name, num_classes=None)
            report = replace(report, target=hub.read(output, options))
        print(verify.verify(replace(report, source=source)))


def describe(report: hub.Report, adjusted_eps: bool = False) -> str:
    """Returns what was written, for people; `adjusted_eps` leaves out the note on another eps."""
    source, target = report.source, report.target
    lines = [
        f"{source.format} ({source.dialect}) -> {report.path}: {target.format} ({target.dialect})",
        f"{target.net.name}, {target.net.num_classes} classes, {target.stream}:"
        f" {len(target.arrays)} arrays, {target.numbers:,} numbers, read back and found equal",
    ]
    if source.ignored:
        lines.append(f"passed over: {listing(source.ignored, 3)}")
    for change, names in (("rounded", source.narrowed), ("widened", source.widened)):
        if names:
            lines.append(f"{change} to float32: {len(names)} of {len(source.arrays)} arrays")
    lines += [f"note: {note}" for note in report.notes]
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
