"""The result of FVD: as JSON, as text with a line for a paper, and as a picture."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import models
from common.fvd import distance
from common.fvd.statistics import Statistics
from common.fvd.stream import Key
from common.io import replacing


def result(
    key: Key,
    real: Statistics,
    fake: Statistics,
    checkpoint: str,
    made: Mapping[str, Any],
    backend: str,
) -> dict[str, Any]:
    """Everything about a value, as JSON."""
    recipe = key.recipe
    found: dict[str, Any] = {
        "fvd": distance.frechet(real, fake, recipe),
        "clips": {"real": real.count, "fake": fake.count},
    }
    if real.keep_features and fake.keep_features:
        rows = real.features, fake.features
        found["interval"] = distance.interval(*rows, recipe)
        found["kvd"] = distance.kernel(*rows)
        fit = distance.extrapolate(*rows, recipe)
        found["extrapolation"] = dataclasses.asdict(fit)
    warnings = []
    if min(real.count, fake.count) < distance.FEW:
        warnings.append(
            f"fewer than {distance.FEW} clips: the value says more about their number than about "
            "the videos. Compare values of equal numbers alone."
        )
    if not recipe.verified:
        warnings.append(f"the recipe {recipe.name} was not held against its authors' code.")
    details = dataclasses.asdict(recipe)
    del details["prepare"], details["load"]
    return {
        **found,
        **made,
        **key.made,
        "checkpoint": checkpoint,
        "details": details,
        "warnings": warnings,
        "versions": models.versions(backend),
        "line": line(found["fvd"], key, found, checkpoint, made, backend),
    }


def line(
    value: float,
    key: Key,
    found: Mapping[str, Any],
    checkpoint: str,
    made: Mapping[str, Any],
    backend: str,
) -> str:
    """One line with everything that another laboratory needs for the same value."""
    versions = models.versions(backend)
    framework = {"i3d_tf": "tensorflow", "i3d_torch": "torch"}[backend]
    starts = {"first": "from the first frame", "random": "at random", "uniform": "evenly spaced"}
    taken = made["clips_per_video"]
    parts = [
        f"recipe {key.recipe.name}",
        f"{found['clips']['real']} real and {found['clips']['fake']} generated clips",
        f"{key.frames} frames" + (f" with stride {made['stride']}" if made["stride"] > 1 else ""),
        f"{taken} clip{'s' * (taken != '1')} a video {starts[made['sampling']]}",
        "source frame rate" if made["fps"] == "source" else f"{made['fps']} frames a second",
        f"I3D {checkpoint} (sha256 {made['weights'][:12]})",
        *([made["precision"]] if made["precision"] != "float32" else []),
        f"i3d {versions['i3d']}, {framework} {versions[framework]}",
    ]
    return f"FVD {value:.2f}: {', '.join(parts)}."


def text(results: Sequence[Mapping[str, Any]]) -> str:
    """The text for people: a table of several values, or all about one; the line comes last."""
    if len(results) > 1:
        rows = [f"{'recipe':16}{'frames':>8}{'FVD':>14}"]
        for each in results:
            mark = "" if each["details"]["verified"] else "  not verified"
            rows.append(f"{each['recipe']:16}{each['frames']:>8}{each['fvd']:>14.4f}{mark}")
        clips = "{real} real and {fake} generated clips".format(**results[0]["clips"])
        return "\n".join([*rows, clips, *_warnings(results)])
    found = results[0]
    lines = ["FVD {fvd:.4f}".format(**found)]
    if "kvd" in found:
        fit = found["extrapolation"]
        lines += [
            "  95 % interval: {:.4f} to {:.4f}".format(*found["interval"]),
            f"  at infinitely many clips: {fit['infinity']:.4f} (line in 1/N, r2 {fit['r2']:.4f})",
            f"KVD {found['kvd']:.6f}",
        ]
    return "\n".join([*lines, *_warnings(results), "", found["line"]])


def _warnings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"Warning: {each}" for each in dict.fromkeys(w for r in results for w in r["warnings"])]


def draw(path: Path, found: Mapping[str, Any]) -> None:
    """Draws the value against the number of clips, and the line in 1 / N through it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fit = found["extrapolation"]
    inverse = [1 / size for size in fit["sizes"]]
    figure = Figure((6, 4), 150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ends = [0, max(inverse)]
    label = f"line, {fit['infinity']:.2f} at 1/N = 0"
    axes.plot(ends, [fit["infinity"] + fit["slope"] * x for x in ends], "C1--", label=label)
    axes.plot(inverse, fit["values"], "C0o", label="subsets of the clips")
    axes.set_xticks([0, *inverse[::2]], ["∞", *map(str, fit["sizes"][::2])])
    axes.set(xlabel="clips (axis in 1/N)", ylabel=f"FVD ({found['recipe']})")
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
