"""Stamps of stored flow: how it was made, in a file beside it, so that kinds are not mixed.

Flow engines differ in amplitude by up to a factor of two, and a network trained on the flow of one
does not recognise that of another. A stamp holds no time and no machine: the same flow has the same
bytes.
"""

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from absl import logging

from common.flow.encoding import BOUND
from common.io import listing, write_text

FILE_NAME = "flow.json"
FORMAT_VERSION = 1
LAST = ("repeat", "drop")
"""What becomes of the last frame, which has no next one: N flows for N frames, or N - 1."""

# Fields that say how flow is stored, which does not change what it means.
_STORAGE = ("form", "first_index", "quality")
_Kind = tuple[tuple[str, str], ...]
_UNSTAMPED: _Kind = (("engine", "unknown (no stamp)"),)


@dataclasses.dataclass(frozen=True)
class FlowStamp:
    """How the flow of a clip was made, and how it is stored."""

    engine: str  # one of `common.flow.ENGINES`
    parameters: Mapping[str, object]  # of the engine, as JSON can hold them
    bound: float = BOUND  # pixels to clip at, which level 255 or the value 1 stands for
    rounding: str = "half to even"
    last: str = "repeat"  # or "drop": one flow less than frames
    fps: float | None = None  # None is the video's own rate
    short_side: int | None = None  # of the frames that flow was computed on; None is the video's
    square_pixels: bool | None = None  # whether pixels were made square; None if unknown
    meaning: str = "flow[i] is from frame i to frame i + 1, in x and y"
    form: str = "jpg"  # grey images of levels; or "npy", float32 in [-1, 1] in a .npy or .npz
    first_index: int = 0  # of the jpgs, as is the quality
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.last not in LAST:
            raise ValueError(f"last must be one of {listing(LAST)}. Received: {self.last!r}.")
        for name in ("bound", "fps"):
            if (number := getattr(self, name)) is not None:
                if not 0 < number < math.inf:
                    raise ValueError(f"{name} must be above 0. Received: {number}.")
                # As after writing and reading: 25 and 25.0 are the same rate, (1, 2) is [1, 2].
                object.__setattr__(self, name, float(number))
        text = json.dumps(dict(self.parameters), sort_keys=True, allow_nan=False)
        object.__setattr__(self, "parameters", json.loads(text))

    def text(self) -> str:
        """Returns the stamp as JSON, the same bytes for equal stamps."""
        record = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, place: Path) -> None:
        """Writes the stamp of `place`, a folder of flow or an array's file, atomically."""
        write_text(beside(place), self.text())


def beside(place: Path) -> Path:
    """Returns the path of the stamp of a folder of flow, or of an array's file (.npy, .npz)."""
    is_array = place.suffix in (".npy", ".npz") and not place.is_dir()
    return place.with_suffix(".json") if is_array else place / FILE_NAME


def read(place: Path) -> FlowStamp | None:
    """Reads the stamp of a folder or array of flow; `ValueError` for others, None without one."""
    path = beside(place)
    try:
        record = json.loads(path.read_bytes())
        if (version := record.pop("format_version")) != FORMAT_VERSION:
            raise ValueError(f"format version {version!r} in place of {FORMAT_VERSION}")
        return FlowStamp(**record)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected the stamp of stored flow, as JSON. Received something else "
            f"({error}). Make the flow again, or move the file away."
        ) from error


def check_same(
    stamps: Mapping[str, FlowStamp | None], allow_mixed: bool = False, allowing: str = ""
) -> None:
    """Refuses flow that was made in different ways; how it is stored may differ.

    Stamps are given by name of the clip. Flow of other tools, which has none, may not be mixed with
    ours either; on its own it is accepted with a warning. Raises `ValueError`, which names the flag
    `allowing` it, or warns if `allow_mixed`.
    """
    names: dict[_Kind, list[str]] = defaultdict(list)
    for name, stamp in stamps.items():
        names[_kind(stamp)].append(name)
    if len(names) > 1:
        text = f"the flow was not all made in the same way: {_differences(names)}."
        if not allow_mixed:
            way_out = f", or allow it ({allowing})" if allowing else ""
            raise ValueError(f"{text} Make the flow again with one setting{way_out}.")
        logging.warning("%s It was allowed.", text)
    elif _UNSTAMPED in names:
        logging.warning(
            "flow without stamps, so nobody can say how it was made: %s. Expected TV-L1, "
            "clipped at +-%g px.", listing(stamps, 3), BOUND,
        )  # fmt: skip


def kinds(stamps: Iterable[FlowStamp | None]) -> list[FlowStamp | None]:
    """Returns the first stamp of each way in which flow was made, however it is stored."""
    found: dict[_Kind, FlowStamp | None] = {}
    for stamp in stamps:
        found.setdefault(_kind(stamp), stamp)
    return list(found.values())


def _kind(stamp: FlowStamp | None) -> _Kind:
    """Returns the fields that must agree, as text."""
    if stamp is None:
        return _UNSTAMPED
    fields = {key: value for key, value in vars(stamp).items() if key not in _STORAGE}
    parameters = fields.pop("parameters")
    fields |= {f"parameters.{key}": value for key, value in parameters.items()}
    return tuple((key, repr(value)) for key, value in fields.items())


def _differences(kinds: Mapping[_Kind, list[str]]) -> str:
    texts = []
    for field in dict.fromkeys(field for kind in kinds for field, _ in kind):
        places: dict[str, list[str]] = defaultdict(list)
        for kind, names in kinds.items():
            if field == "engine" or kind != _UNSTAMPED:
                places[dict(kind).get(field, "not given")] += names
        if len(places) > 1:
            values = (f"{value} in {listing(names, 3)}" for value, names in sorted(places.items()))
            texts.append(f"{field} is {', '.join(values)}")
    return "; ".join(texts)
