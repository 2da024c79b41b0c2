"""Measures FVD: clips a second beside cd-fvd's own code, and memory against the number of clips.

    python benchmarks/fvd.py [--rounds=3] [--results=FILE.md]

Both compute the features of the same clips by the recipe of cd-fvd, from uint8 in memory to logits,
and take turns in one process. cd-fvd's code is measured where the package is installed
(`pip install --no-deps cd-fvd einops`); its weights are untrained, which takes the same time. For
memory, `i3d fvd`'s own pipeline runs in a process of its own over sets of several sizes, with a
narrow network, since that of the real one does not depend on the set.
"""

import dataclasses
import functools
import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import comparing
import measuring
import numpy as np
from numpy.typing import NDArray

from common import arch, command
from common.fvd import clips
from common.fvd.clips import Sampling
from common.fvd.metric import Network
from common.fvd.recipes import RECIPES
from common.fvd.stream import Key, Stream
from common.models import Model
from common.preprocessing.contracts import RGB_CONTRACT
from common.settings import setting

RECIPE = RECIPES["cdfvd"]
SHAPE = (16, 128, 128, 3)  # of a clip
BATCH = 16  # cd-fvd's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Measures FVD: clips a second beside cd-fvd's own code, and memory."""

    rounds: int = setting("Turns of each.", 3, minimum=1)
    sets: tuple[int, ...] = setting("Clips of the sets whose memory is measured.", (200, 2000))
    device: str = setting("Where to compute.", "cpu", choices=("cpu", "gpu"))
    results: Path | None = setting("File for the tables.", None)


def model(net: arch.Network) -> Model:
    """An untrained model."""
    return Model(net, arch.initial_arrays(net), RGB_CONTRACT, Path("none"), None, None)


def ours(device: str, net: arch.Network, batch_size: int | None = None) -> Network:
    make = importlib.import_module("i3d_torch.predictor").make_predictor
    return Network(make, model(net), RECIPE.eps, device, batch_size=batch_size)


def speed(settings: Settings) -> list[str]:
    """Returns the lines of the table of speeds."""
    videos = np.random.default_rng(0).integers(0, 256, (BATCH, *SHAPE), np.uint8)
    net = arch.inception_i3d(400)
    network = ours(settings.device, net)
    size = network.batch_size(SHAPE[0])

    def run() -> None:
        for start in range(0, BATCH, size):
            some = videos[start : start + size]
            network.features([RECIPE.prepare(clip) for clip in some])

    works = {"i3d_torch": measuring.Work(run, kept=True)}
    if theirs := _cdfvd(settings.device, videos):
        works["cd-fvd"] = measuring.Work(theirs, kept=False)
    works["product"] = measuring.Work(
        comparing.product("torch", "float32", settings.device), kept=True
    )
    taken = {
        name: median(times) for name, times in measuring.in_turn(works, settings.rounds).items()
    }
    peak = comparing.product_gflop(settings.device) / taken.pop("product")
    gflop = 2e-9 * arch.multiply_adds(net, (SHAPE[0], 224, 224)) * BATCH
    slowest = max(taken.values())
    rows = [
        [name, measuring.number(BATCH / seconds), f"{slowest / seconds:.2f}",
         f"{gflop / seconds / peak:.0%}"]
        for name, seconds in taken.items()
    ]  # fmt: skip
    title = f"{BATCH} clips of {'x'.join(map(str, SHAPE[:3]))}, {gflop / BATCH:.0f} GFLOP each:"
    columns = ["", "clips a second", "times the slowest", "of the peak"]
    return [title, "", *measuring.table(columns, rows)]


def _cdfvd(device: str, videos: NDArray[np.uint8]) -> Callable[[], Any] | None:
    """cd-fvd's network and preparation, as its `get_i3d_logits` calls them."""
    try:
        code = importlib.import_module("cdfvd.third_party.i3d.utils")
    except ImportError:
        return None
    import torch

    place = comparing.torch_device(device)
    network = code.pytorch_i3d.InceptionI3d(400, in_channels=3).eval().to(place)

    def run() -> Any:
        with torch.no_grad():
            return network(code.preprocess_i3d(videos).to(place)).cpu()

    return run


def memory(count: int, device: str, folder: Path) -> float:
    """Returns the peak memory in MiB of the statistics of so many clips on the disk."""
    path = folder / f"{count}.npy"
    shape = (count, *SHAPE)
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    for k in range(count):
        array[k] = np.random.default_rng(k).integers(0, 256, SHAPE, np.uint8)
    del array
    return measuring.peak_memory(True, _stream, path, device)


def _stream(path: Path, device: str) -> Callable[[], Any]:
    sampling = Sampling()
    net = arch.narrow(arch.inception_i3d(400), 16)
    networks = {RECIPE.eps: ours(device, net, batch_size=4)}
    stream = Stream(clips.find(path, sampling), sampling, [Key(RECIPE, 16)], networks, {})
    return functools.partial(stream.run, "real")


def main(settings: Settings) -> None:
    measuring.begin(settings.device)
    note = f"Medians of {settings.rounds} turns."
    report = measuring.Report(settings.results, settings.device, note)
    report.add(*speed(settings))
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            [f"{count:,}", f"{memory(count, settings.device, Path(folder)):.0f}"]
            for count in settings.sets
        ]
    report.add("Memory of the statistics of a set, with a narrow network:", "",
               *measuring.table(["clips", "MiB"], rows))  # fmt: skip


if __name__ == "__main__":
    command.start(main, Settings)
