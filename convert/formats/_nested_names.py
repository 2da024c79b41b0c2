"""Nested dictionaries of arrays as flat names, and back: how Flax keeps weights in its files.

A native name is the path of keys, joined by ":" because the keys themselves contain "/".
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from convert.formats import _pickled_tree, _raw_values
from convert.formats._raw_values import Array

SEPARATOR = ":"


def leaves(tree: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yields name and value of everything that is no dictionary, in stored order.

    Raises:
        ValueError: A key is no string or contains the separator, or the tree is out of bounds.
    """
    for path, value in _pickled_tree.leaves(tree, (dict,)):
        name = _pickled_tree.shown(path, SEPARATOR)
        if any(not isinstance(key, str) or SEPARATOR in key for key in path):
            raise ValueError(f"{name!r}: a key is no string or contains {SEPARATOR!r}")
        yield name, value


def nested(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The nested dictionaries that give these names.

    Raises:
        ValueError: A value is no array of plain numbers, one name is the start of another, or a
            name is nested too deeply to be read again.
    """
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} is a {type(array).__name__}; expected a NumPy array")
        _raw_values.name_of(array, name)
        *parents, last = name.split(SEPARATOR)
        if len(parents) >= _pickled_tree.DEEPEST:
            raise ValueError(
                f"{name[:200]} is nested {len(parents) + 1} deep; expected"
                f" {_pickled_tree.DEEPEST} at most"
            )
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ValueError(f"{name}: {key} is an array and a group of arrays at once")
        if last in node:
            raise ValueError(f"{name} is an array and a group of arrays at once")
        node[last] = array
    return tree
