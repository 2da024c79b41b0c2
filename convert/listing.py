"""What can be converted, as text, from the registries: for the terminal and for the README.

    python -m convert.listing README.md

writes the README's table of architectures anew.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from absl import app

from common import arch, command
from common.io import write_text
from common.preprocessing import contracts
from convert.checkpoints import CHECKPOINTS
from convert.dialects import DIALECTS
from convert.exports import EXPORTS
from convert.formats import FORMATS

BEGIN, END = "<!-- architectures: make readme -->", "<!-- end of architectures -->"

# Variants that have the parameters and the cost of the row above, or nearly so.
_VARIANTS = ("_symmetric", "_global", "_affine", "_padded")


def architectures() -> str:
    """The table of architectures, as Markdown.

    A multiply-add counts as one operation, as in the papers. Dialects that are ours and hold every
    architecture are left out.
    """
    header = (
        "| architecture | also | parameters | clip | GFLOPs | values | weights that people own |"
    )
    lines = [header, "|---|---|---|---|---|---|---|"]
    names = [name for name in arch.ARCHITECTURES if not name.endswith(_VARIANTS)]
    for name in names:
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
    """Published checkpoints, and dialects in which others published theirs."""
    dialects = [
        dialect.name
        for dialect in DIALECTS.values()
        if set(names) & set(dialect.architectures)
        and set(dialect.architectures) != set(arch.ARCHITECTURES)
        and not dialect.inflates
    ]
    published = [row.name for row in CHECKPOINTS.values() if row.architecture in names]
    return [*(f"`{name}`" for name in published), *dialects]


def readme(text: str) -> str:
    """A README with its table of architectures as it is today.

    Raises:
        ValueError: The marks around the table are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text has no {BEGIN} and {END} around its table")
    return f"{before}{BEGIN}\n{architectures()}\n{END}{after}"


def table() -> str:
    """The three lists, for people."""
    formats = [
        (name, "read, write" if module.SUFFIXES else "read", _endings(module))
        for name, module in FORMATS.items()
    ]
    formats += [(name, "write", _endings(module)) for name, module in EXPORTS.items()]
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


def _endings(module: ModuleType) -> str:
    return ", ".join(module.SUFFIXES) or "found out by content"


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


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("give the path of the README.")
    path = Path(argv[1])
    write_text(path, readme(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    command.run(main)
