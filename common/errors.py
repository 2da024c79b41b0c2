"""Errors that have a name of their own."""

from collections.abc import Iterable


class CheckpointError(ValueError):
    """Anything wrong with a weights file; the text names the file and what is wrong."""


class UnknownNetworkError(CheckpointError):
    """Weights that are well-formed, but of no network that is known."""


class AmbiguousNetworkError(CheckpointError):
    """Weights that fit several networks; `names` are those of the architectures."""

    def __init__(self, text: str, names: Iterable[str]):
        super().__init__(text)
        self.names = tuple(names)


class AssetError(FileNotFoundError):
    """A file that no source could provide; the text names it and every source tried."""


def listing(names: Iterable[str], most: int = 10) -> str:
    """Names for an error text: sorted, `most` at most, then how many more there are."""
    names = sorted(names)
    text = ", ".join(names[:most])
    more = len(names) - most
    return f"{text} and {more} more" if more > 0 else text
