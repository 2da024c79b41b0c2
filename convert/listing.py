"""Lists what can be converted, for the terminal; and `python -m convert.listing docs/models.md`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from common import arch
from common.io import write_text
from common.preprocessing import contracts
from convert.dialects import DIALECTS
from convert.formats import FORMATS
from convert.hub import SUFFIXES
from convert.published import CHECKPOINTS

BEGIN, END = "<!-- architectures: make models -->\n", "\n<!-- end of architectures -->"

# Variants that have the parameters and the cost of the row above, or nearly so.
_VARIANTS = ("_symmetric", "_global", "_affine", "_padded")


def architectures() -> str:
    """Returns the table of architectures as Markdown; a multiply-add counts as one operation."""
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
        published = [f"`{row.name}`" for row in CHECKPOINTS.values() if row.architecture == name]
        dialects = [
            dialect.name
            for dialect in DIALECTS.values()
            if {name, *also} & set(dialect.architectures) and not dialect.inflates
            if len(dialect.architectures) < len(arch.ARCHITECTURES)
        ]
        cells = [
            f"`{name}`",
            ", ".join(f"`{other.removeprefix(name)}`" for other in also),
            f"{arch.count(net):,}",
            f"{contract.frames}{stride}, {contract.crop}²",
            f"{arch.multiply_adds(net, size) / 1e9:.1f}",
            contract.values,
            ", ".join([*published, *dialects]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """Returns a Markdown text with its table of architectures as it is today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{architectures()}{END}{after}"


def table() -> str:
    formats, dialects = [], []
    for name in dict.fromkeys((*FORMATS, *SUFFIXES)):
        ways = [way for way, those in (("read", FORMATS), ("write", SUFFIXES)) if name in those]
        formats.append((name, ", ".join(ways), ", ".join(SUFFIXES.get(name, ("any",)))))
    for name, dialect in DIALECTS.items():
        first, *more = dialect.architectures
        nets = first if not more else f"{first} and {len(more)} more"
        access = "read, write" if dialect.writable else "read"
        dialects.append((name, access, dialect.about, nets))
    networks = [(name, f"{arch.count(make()):,}") for name, make in arch.ARCHITECTURES.items()]
    blocks = (
        _block("formats", ("name", "", "endings"), formats),
        _block("dialects", ("name", "", "whose", "architectures"), dialects),
        _block("architectures", ("name", "parameters"), networks),
    )
    return "\n\n".join(blocks)


def _block(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [f"{title}:"]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        text.append("  " + "  ".join(cells).rstrip())
    return "\n".join(text)


if __name__ == "__main__":
    write_text(sys.argv[1], with_table(Path(sys.argv[1]).read_text(encoding="utf-8")))
