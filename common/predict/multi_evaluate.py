"""Writes every published evaluation of a sample: all of `multi_evaluate` but the framework.

The release's published `no_imagenet_*` texts are copies of the `imagenet_*` ones, because a flag
was misread there. Here they are what their names say.
"""

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np
from absl import logging

from common import hardware, models
from common.io import write_text
from common.models import MakePredictor, Model
from common.predict import evaluate_sample
from common.predict.evaluate_sample import Floats, Score
from common.settings import setting

EVALUATIONS: dict[str, evaluate_sample.Settings] = {
    **{
        f"{'imagenet' if imagenet else 'no_imagenet'}_{eval_type}": evaluate_sample.Settings(
            eval_type=eval_type, imagenet_pretrained=imagenet
        )
        for imagenet in (True, False)
        for eval_type in ("rgb", "flow", "joint")
    },
    "rgb600": evaluate_sample.Settings(eval_type="rgb600", imagenet_pretrained=False),
}
"""By file name without its ending."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Writes every evaluation of a sample to a folder, a text each.

        python -m i3d_torch.multi_evaluate --output_dir=out

    {imagenet,no_imagenet}_{rgb,flow,joint}.txt and rgb600.txt; failures are named at the end.
    """

    output_dir: Path = setting("The folder to write the texts to.", Path("out"))
    sample: str = setting(
        "The sample to classify.", "cricket", choices=tuple(models.samples.SAMPLES)
    )
    threads: int | None = setting(
        "Threads of the network on a CPU; by default OMP_NUM_THREADS, or one a core.",
        None,
        minimum=1,
    )


def run(settings: Settings, make: MakePredictor, backend: str) -> int:
    """The command; a text that fails does not stop the others.

    Returns:
        0 when all were written, 1 otherwise; the summary on stderr names each reason.
    """
    hardware.keep_freed_memory()
    return write_all(settings, evaluate_sample.scores_by(evaluate_sample.Settings(), make), backend)


def write_all(settings: Settings, score: Score, backend: str) -> int:
    """`run` with the scores of `score`."""
    load = functools.cache(models.load)
    computed: dict[tuple[Path, tuple[int, ...]], Floats] = {}

    def once(model: Model, clip: Floats) -> Floats:
        key = (model.path, clip.shape)  # joint reuses what rgb and flow have computed
        if key not in computed:
            computed[key] = np.asarray(score(model, clip), np.float32)
        return computed[key]

    failed: dict[str, str] = {}
    for name, row in EVALUATIONS.items():
        path = settings.output_dir / f"{name}.txt"
        try:
            asked = dataclasses.replace(row, sample=settings.sample)
            write_text(path, evaluate_sample.evaluate(asked, once, backend, load).text())
        except (ValueError, OSError) as error:
            failed[name] = " ".join(str(error).splitlines())
            logging.error("%s: %s", name, failed[name])
        else:
            logging.info("wrote %s", path)
    print(f"done: {len(EVALUATIONS) - len(failed)}, failed: {len(failed)}", file=sys.stderr)
    for name, reason in failed.items():
        print(f"  {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0
