"""Label maps: class names in the order of a network's logits."""

import os
from pathlib import Path

from common.io import AssetError

KINETICS_400 = "label_map.txt"
KINETICS_600 = "label_map_600.txt"
UCF101 = "label_map_ucf101.txt"  # in the order of classInd.txt
HMDB51 = "label_map_hmdb51.txt"
VIDOR_ACTIONS = "label_map_vidor_actions.txt"
VIDOR_PREDICATES = "label_map_vidor_predicates.txt"
VIDOR_OBJECTS = "label_map_vidor_objects.txt"

_CLASSES = {
    KINETICS_400: 400,
    KINETICS_600: 600,
    UCF101: 101,
    HMDB51: 51,
    VIDOR_ACTIONS: 42,
    VIDOR_PREDICATES: 50,
    VIDOR_OBJECTS: 80,
}

_PACKAGE = Path(__file__).resolve().parents[1]  # common


def load(name_or_path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Reads a label map: one of the constants above, or a text file with one class a line.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file or a line is empty, it is not UTF-8, or one of the project's own maps
            has the wrong number of classes.
    """
    name = os.fspath(name_or_path)
    path = _own_file(name) if name in _CLASSES else Path(name)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: no such label map. Expected {', '.join(_CLASSES)} or the path of a text file "
            "with one class a line."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, one class a line; {error}.") from error
    names = tuple(line.strip() for line in lines)
    if "" in names:
        raise ValueError(f"{path}: line {names.index('') + 1} is empty. Expected one class a line.")
    expected = _CLASSES.get(name, len(names))
    if not names or len(names) != expected:
        raise ValueError(f"{path}: expected {expected or 'some'} classes, got {len(names)}.")
    return names


def for_classes(count: int) -> tuple[str, ...]:
    """Returns class names if only their number is known: those of Kinetics, or "class 17"."""
    for name in (KINETICS_400, KINETICS_600):
        if _CLASSES[name] == count:
            return load(name)
    return tuple(f"class {index}" for index in range(count))


def _own_file(name: str) -> Path:
    """Returns the path in the installed package, or in a checkout."""
    places = (_PACKAGE / "data" / name, _PACKAGE.parent / "data" / name)
    path = next(filter(Path.is_file, places), None)
    if path is None:
        raise AssetError(
            f"{name}: the project's label map is missing. Looked for {places[0]} and {places[1]}. "
            "Reinstall the project, or restore `data/` of the checkout."
        )
    return path
