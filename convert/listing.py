"""Lists what can be converted, from the registries: for the terminal and for docs/models.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import arch, command
from common.io import write_text
from common.preprocessing import contracts
from common.settings import UsageError, setting
from convert.dialects import DIALECTS
from convert.exports import EXPORTS
from convert.formats import FORMATS
from convert.published import CHECKPOINTS

BEGIN, END = "<!-- architectures: make models -->", "<!-- end of architectures -->"

# Variants that have the parameters and the cost of the row above, or nearly so.
_VARIANTS = ("_symmetric", "_global", "_affine", "_padded")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Rewrites the table of architectures in a Markdown file: `python -m convert.listing FILE`."""

    file: tuple[str, ...] = setting("The file.", (), positional=True)


def architectures() -> str:
    """Returns the table of architectures as Markdown.

    A multiply-add counts as one operation, as in the papers. Dialects that are ours and hold every
    architecture are left out.
    """
    header = (
        "| architecture | also | parameters | clip | GFLOPs | values | weights that people own |"
    )
    lines = [header, "|---|---|---|---|---|---|---|"]
    for name in arch.ARCHITECTURES:
        if name.endswith(_VARIANTS):
            continue
        also = [other for other in arch.ARCHITECTURES if other in {name + v for v in _VARIANTS}]
        net, contract = arch.make(name), contracts.usual(name)
        size = (contract.frames, contract.crop, contract.crop)
        stride = f" of every {contract.stride}" if contract.stride > 1 else ""
        cells = [
            f"`{name}`",
            ", ".join(f"`{other.removeprefix(name)}`" for other in also),
            f"{arch.count(net):,}",
            f"{contract.frames}{stride}, {contract.crop}²",
            f"{arch.multiply_adds(net, size) / 1e9:.1f}",
            contract.values,
            ", ".join(_owned([name, *also])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _owned(names: Sequence[str]) -> list[str]:
    """Returns published checkpoints, and dialects in which others published theirs."""
    dialects = [
        dialect.name
        for dialect in DIALECTS.values()
        if set(names) & set(dialect.architectures)
        and set(dialect.architectures) != set(arch.ARCHITECTURES)
        and not dialect.inflates
    ]
    published = [row.name for row in CHECKPOINTS.values() if row.architecture in names]
    return [*(f"`{name}`" for name in published), *dialects]


def with_table(text: str) -> str:
    """Returns a Markdown text with its table of architectures as it is today.

    Raises:
        ValueError: The marks around the table are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text has no {BEGIN} and {END} around its table")
    return f"{before}{BEGIN}\n{architectures()}\n{END}{after}"


def table() -> str:
    """Returns lists of formats, dialects and architectures, for the terminal."""
    formats = [
        (
            name,
            *(("read, write", ", ".join(module.SUFFIXES)) if module.SUFFIXES else ("read", "any")),
        )
        for name, module in FORMATS.items()
    ]
    formats += [(name, "write", export.suffix) for name, export in EXPORTS.items()]
    dialects = [
        (
            name,
            "read, write" if dialect.writable else "read",
            dialect.about,
            _architectures(dialect.architectures),
        )
        for name, dialect in DIALECTS.items()
    ]
    networks = [(name, f"{arch.count(make()):,}") for name, make in arch.ARCHITECTURES.items()]
    return "\n\n".join(
        [
            _block("formats", ("name", "", "endings"), formats),
            _block("dialects", ("name", "", "whose", "architectures"), dialects),
            _block("architectures", ("name", "parameters"), networks),
        ]
    )


def _architectures(names: tuple[str, ...]) -> str:
    if set(names) == set(arch.ARCHITECTURES):
        return "all"
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"


def _block(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([f"{title}:", *text])


def main(settings: Settings) -> None:
    """Rewrites the table."""
    if len(settings.file) != 1:
        raise UsageError("give the path of a Markdown file")
    path = Path(settings.file[0])
    write_text(path, with_table(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    command.start(main, Settings)
