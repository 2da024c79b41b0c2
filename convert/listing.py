"""What can be converted, as text: formats, dialects and architectures, from their registries."""

from collections.abc import Sequence
from types import ModuleType

from common import arch
from convert.dialects import DIALECTS
from convert.exports import EXPORTS
from convert.formats import FORMATS


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
    architectures = [(name, f"{arch.count(make()):,}") for name, make in arch.ARCHITECTURES.items()]
    return "\n\n".join(
        [
            _block("formats", ("name", "", "endings"), formats),
            _block("dialects", ("name", "", "whose", "architectures"), dialects),
            _block("architectures", ("name", "parameters"), architectures),
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
