"""Label maps: class names in the order of a network's logits."""

import os
from pathlib import Path

KINETICS_400 = "label_map.txt"
KINETICS_600 = "label_map_600.txt"
UCF101 = "label_map_ucf101.txt"  # in the order of classInd.txt
HMDB51 = "label_map_hmdb51.txt"
VIDOR_ACTIONS = "label_map_vidor_actions.txt"
VIDOR_PREDICATES = "label_map_vidor_predicates.txt"
VIDOR_OBJECTS = "label_map_vidor_objects.txt"

_OWN = (
    KINETICS_400, KINETICS_600, UCF101, HMDB51, VIDOR_ACTIONS, VIDOR_PREDICATES, VIDOR_OBJECTS
)  # fmt: skip
_PACKAGE = Path(__file__).resolve().parents[1]  # common


def load(name_or_path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Reads a label map: one of the constants above, or a text file with one class a line.

    Raises `FileNotFoundError`, and `ValueError` for an empty file or line, or what is not UTF-8.
    """
    path = Path(name_or_path)
    if os.fspath(name_or_path) in _OWN:  # in the installed package, or in a checkout
        places = (_PACKAGE / "data" / path, _PACKAGE.parent / "data" / path)
        path = places[0] if places[0].is_file() else places[1]
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError as error:
        expected = f"{', '.join(_OWN)} or the path of a text file with one class a line"
        raise FileNotFoundError(f"{path}: no such label map. Expected {expected}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, one class a line; {error}.") from error
    if not names or "" in names:
        raise ValueError(f"{path}: expected one class a line. Received a file or line without.")
    return names


def for_classes(count: int) -> tuple[str, ...]:
    """Class names if only their number is known: those of Kinetics, or "class 17"."""
    known = {400: KINETICS_400, 600: KINETICS_600}
    if count in known:
        return load(known[count])
    return tuple(f"class {index}" for index in range(count))
