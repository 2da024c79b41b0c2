"""Says in which arrays two checkpoints differ, or in which endpoints once they are run."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from common import arch, command
from common.io import AmbiguousNetworkError, CheckpointError, UnknownNetworkError, listing
from common.settings import UsageError, setting
from convert import changes, formats, hub, published
from convert.arrays import Array

MOST_SHOWN = 20

# The two backends differ by some 1e-6 on random weights, and by 1e-4 behind sharp attention.
TOLERANCE = 1e-3
CLIP = (16, 112, 112)  # enough for several time steps at the end, and quick on a CPU

_PACKAGES = {"tf": "sonnet", "torch": "torch"}  # what each framework's backend needs


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Says in which arrays two checkpoints differ, and by how much, whatever their dialects.

        python -m convert.compare rgb_scratch mine.pt
        python -m convert.compare before.pkl after.safetensors

    The exit status is 0 where both hold the same numbers, bit for bit, and 1 where they do not.
    Files of no known network are compared by the names that they have.
    """

    checkpoints: tuple[str, ...] = setting(
        "Names or paths of two checkpoints.", (), positional=True
    )


def compare(one: str, other: str) -> tuple[str, bool]:
    """Returns a text for people, and whether two checkpoints hold the same numbers.

    A file that is damaged is a CheckpointError, one that is not there a FileNotFoundError.
    """
    (about_a, native_a, a), (about_b, native_b, b) = _side(one), _side(other)
    if a and b and (a.dialect != b.dialect or native_a.keys() != native_b.keys()):
        found = _differences(a.arrays, b.arrays)
    else:  # nothing has to be converted, and nothing is passed over
        found = _differences(native_a, native_b)
    lines = found or ["the same numbers under the same names, bit for bit"]
    return "\n".join([f"A: {about_a}", f"B: {about_b}", *lines]), not found


def _side(checkpoint: str) -> tuple[str, Mapping[str, Array], hub.Weights | None]:
    """Returns a description, the file's arrays, and its weights if its network is known."""
    path, _ = published.resolve(checkpoint)
    module = formats.detect(path)
    native = module.read(path)
    # A comparison changes nothing, so that weights are read whatever they would need.
    options = hub.ConversionOptions(allow=tuple(changes.CHANGES))
    try:
        weights = hub.identify(native, path, module.NAME, options)
        name = weights.net.name
    except AmbiguousNetworkError as error:
        name = " or ".join(error.names)  # the arrays are the same in all of them
        options = replace(options, architecture=error.names[0])
        weights = hub.identify(native, path, module.NAME, options)
    except UnknownNetworkError:
        return f"{path}: {module.NAME}, no known network", native, None
    what = f"{name}, {weights.net.num_classes} classes, {weights.stream}"
    return f"{path}: {weights.format} ({weights.dialect}), {what}", native, weights


def _differences(a: Mapping[str, Array], b: Mapping[str, Array]) -> list[str]:
    lines, measured = [], []
    for side, only in (("A", a.keys() - b.keys()), ("B", b.keys() - a.keys())):
        if only:
            lines.append(f"only in {side}: {listing(only)}")
    shared = [name for name in a if name in b]
    for name in shared:
        if a[name].shape != b[name].shape:
            lines.append(f"{name}: {list(a[name].shape)} in A, {list(b[name].shape)} in B")
        elif a[name].dtype != b[name].dtype or a[name].tobytes() != b[name].tobytes():
            measured.append((name, *measure(a[name], b[name])))
    if measured:
        measured.sort(key=lambda row: -row[2])
        width = max(len(name) for name, _, _ in measured[:MOST_SHOWN])
        lines.append(f"{len(measured)} of {len(shared)} arrays that both have differ:")
        lines.append(f"  {'array':{width}}  largest difference  of the largest value in A")
        lines += [
            f"  {name:{width}}  {absolute:18.3g}  {relative:.3g}"
            for name, absolute, relative in measured[:MOST_SHOWN]
        ]
    if len(measured) > MOST_SHOWN:
        lines.append(f"  and {len(measured) - MOST_SHOWN} more that differ less")
    return lines


def measure(a: Array, b: Array) -> tuple[float, float]:
    """Returns the largest difference, and its ratio to the largest of `a`; or twice infinity."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.inf, np.inf
    difference, largest = float(np.abs(x - y).max(initial=0)), float(np.abs(x).max(initial=0))
    return difference, difference / largest if largest else np.inf if difference else 0.0


def verify(source: hub.Weights, target: hub.Weights) -> str:
    """Runs both sides, and returns a line with the largest relative difference of an endpoint.

    The source runs in its format's framework, the target in the other where both are installed,
    or a whole model in its own runtime. CheckpointError if the sides differ.
    """
    own = "torch" if "torch" in source.format else "tf"
    installed = [name for name in _PACKAGES if importlib.util.find_spec(_PACKAGES[name])]
    frameworks = sorted(installed, key=own.__ne__)
    export = hub.EXPORTS.get(target.format)
    if not frameworks or (export and not importlib.util.find_spec(export.runtime)):
        needed = export.runtime if export and frameworks else "'.[torch]' or '.[tf]'"
        raise ImportError(f"--verify runs the network: pip install {needed}. The file is written.")
    first, second = frameworks[0], frameworks[-1]
    net = source.net
    size = [max(n, least) for n, least in zip(CLIP, arch.smallest_size(net), strict=True)]
    if any(isinstance(node, arch.NonLocal) and node.group for node in net.nodes):
        size[0] = 32  # divides into groups after the eighth that either timing leaves
    shape = (1, *size, net.in_channels)
    clips = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    one = _run(first, source, clips)
    if export:
        second = export.runtime
        other = importlib.import_module(export.module).run(target.path, clips)
    else:
        other = _run(second, target, clips)
    differences = {name: measure(one[name], other[name])[1] for name in one if name in other}
    worst = max(differences, key=differences.__getitem__)
    what = (
        f"on a clip of {'x'.join(map(str, size))}: source in {first}, target in {second}, largest"
        f" difference {differences[worst]:.1e} of {len(differences)} endpoints ({worst})"
    )
    if not differences[worst] <= TOLERANCE:
        raise CheckpointError(
            f"{target.path}: the two sides differ {what}; expected at most {TOLERANCE:g}."
        )
    return f"verified {what}"


def _run(framework: str, weights: hub.Weights, clips: Array) -> dict[str, Array]:
    """Returns the endpoints [B, T, H, W, C] of clips in a framework's backend."""
    if framework == "tf":
        import i3d_tf  # before TensorFlow, see there

        # isort: split
        import tensorflow as tf

        model = i3d_tf.VideoModel(weights.net)
        i3d_tf.assign(model, weights.arrays)
        return {name: x.numpy() for name, x in model(tf.constant(clips))[1].items()}
    import torch

    import i3d_torch

    model = i3d_torch.VideoModel(weights.net).eval()
    i3d_torch.assign(model, weights.arrays)
    with torch.inference_mode():
        _, endpoints = model(torch.from_numpy(np.moveaxis(clips, -1, 1).copy()))
    return {name: x.movedim(1, -1).numpy() for name, x in endpoints.items()}


def main(settings: Settings) -> int:
    if len(settings.checkpoints) != 2:
        raise UsageError("give the names or paths of two checkpoints")
    text, same = compare(*settings.checkpoints)
    print(text)
    return 0 if same else 1


if __name__ == "__main__":
    command.start(main, Settings)
