"""A whole conversion: read or average, change what was asked for, write, and say what was done."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from common import arch
from common.io import CheckpointError, listing
from convert import hub, verify
from convert.affine import to_affine
from convert.dialects import DIALECTS
from convert.exports import EXPORTS


@dataclass(frozen=True)
class Options:
    """What `python -m convert` is asked for.

    Attributes:
        inputs: Names or paths; several are averaged.
        output: The file to write.
        to: The dialect; None takes the usual one.
        container: The format; None goes by the ending of `output`.
        terms: What the files do not say, and what may change.
        to_affine: Whether batch norm is turned into scale and offset.
        overwrite: Whether an existing file may be replaced.
        verify: Whether both sides are run as well.
    """

    inputs: tuple[str, ...]
    output: str
    to: str | None = None
    container: str | None = None
    terms: hub.Terms = field(default_factory=hub.Terms)
    to_affine: bool = False
    overwrite: bool = False
    verify: bool = False


def run(options: Options) -> str:
    """Converts, and says what was done, a line for each thing.

    Raises:
        CheckpointError: An input is damaged or unknown, inputs that are averaged differ in
            kind, or what was written reads differently.
        FileExistsError: The output exists and may not be replaced.
        ValueError: An option is not possible.
    """
    _check_apart(options)
    weights = source = _read(options)
    if options.to_affine:
        net, arrays = to_affine(weights.net, weights.arrays, options.terms.allow)
        note = "batch norm turned into scale and offset"
        weights = replace(weights, net=net, arrays=arrays, notes=(*weights.notes, note))
    report = hub.write(
        weights, options.output, options.to, options.overwrite, options.terms, options.container
    )
    text = describe(report, options.terms.adjust_eps)
    if not options.verify:
        return text
    if report.target.format not in EXPORTS:
        # What was changed for the dialect is changed back, as it is for whoever reads the file.
        terms = replace(options.terms, architecture=report.target.net.name, num_classes=None)
        report = replace(report, target=hub.read(report.path, terms))
    return f"{text}\n{verify.verify(replace(report, source=source))}"


def average(checkpoints: Sequence[hub.Weights]) -> hub.Weights:
    """The mean of weights of one network, statistics included, summed in float64.

    Raises:
        CheckpointError: They are not of one network.
    """
    first, *others = checkpoints
    for other in others:
        if other.net != first.net:
            raise CheckpointError(
                f"only weights of one network can be averaged. Received: {_kind(first)} and"
                f" {_kind(other)}."
            )
    arrays = {}
    for name in first.arrays:
        total = np.zeros(first.arrays[name].shape, np.float64)
        for weights in checkpoints:
            total += weights.arrays[name]
        arrays[name] = (total / len(checkpoints)).astype(np.float32)
    notes = dict.fromkeys(note for weights in checkpoints for note in weights.notes)
    mean = f"the mean of {len(checkpoints)} checkpoints"
    return replace(first, arrays=arrays, notes=(*notes, mean))


def describe(report: hub.Report, adjusted_eps: bool = False) -> str:
    """What was written, for people; `adjusted_eps` where the variances make up for another eps."""
    source, target = report.source, report.target
    lines = [
        f"{source.format} ({source.dialect}) -> {report.path}: {target.format} ({target.dialect})",
        f"{target.net.name}, {target.net.num_classes} classes, {target.stream}:"
        f" {len(target.arrays)} arrays, {target.numbers:,} numbers, read back and found equal",
    ]
    if source.ignored:
        lines.append(f"passed over: {listing(source.ignored, 3)}")
    if source.narrowed:
        lines.append(f"rounded to float32: {len(source.narrowed)} of {len(source.arrays)} arrays")
    if source.widened:
        lines.append(f"widened to float32: {len(source.widened)} of {len(source.arrays)} arrays")
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines if adjusted_eps else [*lines, *_about_eps(report)])


def _about_eps(report: hub.Report) -> list[str]:
    """Lines for a side whose owner's code has another eps than the network."""
    lines = []
    for weights, when in ((report.source, "trained"), (report.target, "run")):
        dialect = DIALECTS.get(weights.dialect)
        if dialect and dialect.eps is not None:
            lines.append(
                f"note: {dialect.name}'s own code has an eps of {dialect.eps:g} in place of"
                f" {_eps(weights.net):g}; for weights that are {when} there, add --adjust_eps"
            )
    return lines


def _check_apart(options: Options) -> None:
    """Refuses to write where something is read from."""
    if Path(options.output).resolve() in {Path(name).resolve() for name in options.inputs}:
        raise ValueError(f"{options.output} is what is read: write to another file.")


def _read(options: Options) -> hub.Weights:
    checkpoints = [hub.load(name, options.terms) for name in options.inputs]
    return average(checkpoints) if len(checkpoints) > 1 else checkpoints[0]


def _kind(weights: hub.Weights) -> str:
    return f"{weights.net.name} of {weights.net.num_classes} classes ({weights.stream})"


def _eps(net: arch.Network) -> float:
    return next(c.norm.eps for _, c in arch.convolutions(net) if isinstance(c.norm, arch.Norm))
