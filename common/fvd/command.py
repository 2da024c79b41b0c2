"""The command `fvd` of either framework: two sets of videos to a distance, and how sure it is."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from common import models
from common.fvd import clips, metric, report, statistics
from common.fvd.clips import Sampling
from common.fvd.metric import CHECKPOINT, MIN_FRAMES, Network
from common.fvd.recipes import RECIPES, Recipe
from common.fvd.statistics import Statistics
from common.fvd.stream import Key, Stream
from common.io import check_target, to_json, write_text
from common.models import MakePredictor, NetworkSettings
from common.settings import UsageError, setting

# Sampling by the names that StyleGAN-V gave it.
PROTOCOLS = {
    "fvd2048_16f": "--frames=16 --stride=1 --clips=2048",
    "fvd2048_128f": "--frames=128 --stride=1 --clips=2048",
    "fvd2048_128f_subsample8f": "--frames=16 --stride=8 --clips=2048",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(NetworkSettings):
    """Computes the Fréchet Video Distance between two sets of videos.

    i3d fvd --real=videos --fake=generated
    i3d fvd --real=real.npy --fake=fake.npy --recipe=all
    i3d fvd --real=videos --save_real=real.safetensors
    i3d fvd --real=real.safetensors --fake=generated --keep_features --output=fvd.json

    A set is a folder of videos or of folders of frames, a video list (.txt), an array
    [N, T, H, W, 3] of uint8 (.npy, .npz), or statistics: a file of --save_real, or a .pkl of cd-fvd
    or StyleGAN-V. The value depends on the recipe, the clips and their number; the last line says
    all of it, for a paper. `i3d fvd merge` adds up the statistics of shards.
    """

    real: Path | None = setting("The real videos.", None)
    fake: Path | None = setting("The generated videos.", None)
    recipe: str = setting(
        "Whose numbers to compute: see docs/fvd.md. all prints a table.",
        "google",
        choices=(*RECIPES, "all"),
    )
    protocol: str | None = setting(
        "Sampling by its name in StyleGAN-V: sets --frames, --stride, --clips.",
        None,
        choices=PROTOCOLS,
    )
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    per_frames: str | None = setting(
        "A value for each number of frames, as in 10:30: of the first frames of each clip.", None
    )
    checkpoint: str = setting(
        "Weights of InceptionI3D: name of a published checkpoint, or path in any format.",
        CHECKPOINT,
    )
    keep_features: bool = setting(
        "Keep the features of every clip: for KVD, a confidence interval, and the value at an "
        "infinite number of clips.",
        False,
    )
    batch_size: int | None = setting("Clips in a batch; by default enough.", None, minimum=1)
    save_real: Path | None = setting("Write the statistics of the real videos here.", None)
    save_fake: Path | None = setting("The same of the generated ones.", None)
    shard: str = setting("Take part I/N of the videos, as in 2/8, to merge afterwards.", "1/1")
    allow_failures: int = setting(
        "Number of videos of a set that may be left out because they cannot be read.", 0, minimum=0
    )
    output: Path | None = setting("Write the result to this .json.", None)
    plot: Path | None = setting("Draw the value against the number of clips (.png).", None)
    overwrite: bool = setting("Replace files that are there already.", False)

    @classmethod
    def expand(cls, arguments: Sequence[str]) -> list[str]:
        """Puts the flags of --protocol before the others, which override them."""
        joined = re.search(r"(?:^|\0)--?protocol[=\0](\w+)", "\0".join(arguments))
        return [*PROTOCOLS.get(joined[1] if joined else "", "").split(), *arguments]

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        return tuple(RECIPES.values()) if self.recipe == "all" else (RECIPES[self.recipe],)

    @property
    def keys(self) -> tuple[Key, ...]:
        """What values are computed of: recipes, and numbers of frames."""
        counts = [self.sampling.frames]
        if self.per_frames:
            first, last = map(int, self.per_frames.split(":"))
            counts = [*range(first, last + 1)]
        return tuple(Key(recipe, count) for recipe in self.recipes for count in counts)

    @property
    def part(self) -> tuple[int, int]:
        """The number of the shard, from 0, and of how many."""
        number, count = map(int, self.shard.split("/"))
        return number - 1, count

    def saved(self) -> dict[str, Path]:
        paths = {"real": self.save_real, "fake": self.save_fake}
        return {side: path for side, path in paths.items() if path}

    def __post_init__(self) -> None:
        found = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard={self.shard}: expected I/N with I from 1 to N, as in 2/8")
        if self.per_frames is not None:
            found = re.fullmatch(r"(\d+):(\d+)", self.per_frames)
            if not found or not MIN_FRAMES <= int(found[1]) <= int(found[2]):
                expected = f"expected FIRST:LAST, from {MIN_FRAMES} on, as in 10:30"
                raise UsageError(f"--per_frames={self.per_frames}: {expected}")
            longest = dataclasses.replace(self.sampling, frames=int(found[2]))
            object.__setattr__(self, "sampling", longest)
        several = self.recipe == "all" or bool(self.per_frames)
        kept = self.real and self.real.suffix in statistics.SUFFIXES
        given = {"real": self.real, "fake": self.fake}
        rules = {
            "--real is needed, and --fake, or --save_real without it": bool(self.real)
            and (bool(self.fake) or bool(self.save_real)),
            "--recipe=all and --per_frames do not go with files of statistics, which are of one "
            "recipe and one number of frames": not several
            or not (self.saved() or kept or self.keep_features or self.plot),
            "--shard is for --save_real or --save_fake": self.shard == "1/1" or bool(self.saved()),
            "--plot needs --keep_features": not self.plot or self.keep_features,
            **{
                f"--save_{side} needs videos in --{side}": path.suffix == ".safetensors"
                and given[side] is not None
                and given[side] != path
                for side, path in self.saved().items()
            },
        }
        for text, right in rules.items():
            if not right:
                raise UsageError(text)


def run(settings: Settings, make: MakePredictor, backend: str) -> int:
    """Computes with the predictors of a framework; returns the exit status."""
    models.keep_freed_memory()
    for path in (settings.output, settings.plot, *settings.saved().values()):
        if path:
            check_target(path, settings.overwrite)
    sides, made = _sides(settings, make, backend)
    if settings.shard != "1/1" or "fake" not in sides:
        for name, side in sides.items():
            print(f"{name}: {next(iter(side.values())).count:,} clips")
        return 0
    results = []
    for key in settings.keys:
        real, fake = sides["real"][key], sides["fake"][key]
        results.append(report.result(key, real, fake, settings.checkpoint, made, backend))
    print(report.text(results))
    if settings.output:
        content = results[0] if len(results) == 1 else {"results": results}
        write_text(settings.output, to_json(content))
    if settings.plot:
        report.draw(settings.plot, results[0])
    return 0


def _sides(
    settings: Settings, make: MakePredictor, backend: str
) -> tuple[dict[str, Mapping[Key, Statistics]], dict[str, Any]]:
    """The statistics of both sides, and what was made of videos here says of itself."""
    sides: dict[str, Mapping[Key, Statistics]] = {}
    paths = {"real": settings.real, "fake": settings.fake}
    given = {side: path for side, path in paths.items() if path}
    read = {s: statistics.read(p)[0] for s, p in given.items() if p.suffix in statistics.SUFFIXES}
    sets = {
        side: clips.find(path, settings.sampling)
        for side, path in given.items()
        if side not in read
    }
    model = metric.load(settings.checkpoint, settings.architecture)
    made = {
        "weights": metric.digest(model.arrays),
        "precision": settings.precision,
        **dataclasses.asdict(settings.sampling),
    }
    del made["clips"]  # which the count says
    key = settings.keys[0]
    wanted = Statistics({**made, **key.made})
    statistics.check_same([wanted, *read.values()])
    for side, found in read.items():
        if not found.made:
            text = "says neither recipe nor weights: they are taken to be those of this run."
            logging.warning("%s: %s", given[side], text)
        sides[side] = {key: found}
    networks = {}
    if sets:
        for eps in {each.eps for each in settings.recipes}:
            networks[eps] = Network(
                make, model, eps, settings.device, settings.precision, settings.batch_size
            )
    for side, videos in sets.items():
        stream = Stream(
            videos,
            settings.sampling,
            settings.keys,
            networks,
            made,
            settings.part,
            settings.allow_failures,
            settings.keep_features,
        )
        sides[side] = stream.run(side, settings.saved().get(side), models.versions(backend))
    return sides, made
