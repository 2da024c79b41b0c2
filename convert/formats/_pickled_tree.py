"""The leaves of nested containers in a pickle, within bounds: containers may share or cycle."""

from collections.abc import Iterator
from typing import Any

# A few kilobytes of pickle can describe a tree with more leaves than atoms.
_MOST_VISITS = 1_000_000
_DEEPEST = 100


def leaves(tree: Any, containers: tuple[type, ...]) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Yields path and value of everything that is no container, in stored order.

    Args:
        tree: The outermost container.
        containers: Of dict, list and tuple those to look into.

    Raises:
        ValueError: It is nested too deeply (or in a cycle), or has too many leaves.
    """
    visits = 0
    waiting: list[tuple[tuple[object, ...], Any]] = [((), tree)]
    while waiting:
        path, found = waiting.pop()
        if not isinstance(found, containers):
            yield path, found
            continue
        node: Any = found
        visits += len(node)
        if visits > _MOST_VISITS or len(path) >= _DEEPEST:
            raise ValueError(
                f"has more than {_MOST_VISITS} values or is nested more than {_DEEPEST} deep"
            )
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        waiting += [((*path, key), value) for key, value in reversed(list(pairs))]


def shown(path: tuple[object, ...], separator: str) -> str:
    """The path as a name.

    Raises:
        ValueError: It is longer than any checkpoint's.
    """
    name = separator.join(
        key if isinstance(key, str) else str(key) if isinstance(key, int) else type(key).__name__
        for key in path
    )
    if len(name) > 1000:
        raise ValueError(
            f"a name of {len(name)} characters, {name[:80]!r}...; expected 1000 at most"
        )
    return name


def check_sharing(shared: int, stored: int) -> None:
    """Refuses arrays that are far larger together than the bytes they share.

    Raises:
        ValueError: More than 16 times as large.
    """
    if shared > 16 * stored + 2**26:
        raise ValueError(f"its arrays are more than {shared} bytes, but share only {stored}")
