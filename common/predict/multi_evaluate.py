"""Writes every published evaluation of a sample: all of `multi_evaluate` but the framework.

The release's published `no_imagenet_*` texts are copies of the `imagenet_*` ones, because a flag
was misread there. Here they are what their names say.
"""

import dataclasses
import sys
from pathlib import Path

from common import models
from common.io import write_text
from common.models import MakePredictor
from common.predict.evaluate_sample import Result, evaluate
from common.predict.evaluate_sample import Settings as Evaluation
from common.settings import setting

_PRETRAINED = {"imagenet": True, "no_imagenet": False}
EVALUATIONS = {
    f"{name}_{stream}": Evaluation(eval_type=stream, imagenet_pretrained=pretrained)
    for name, pretrained in _PRETRAINED.items()
    for stream in ("rgb", "flow")
} | {"rgb600": Evaluation(eval_type="rgb600", imagenet_pretrained=False)}
"""By file name without its ending; sums of streams are made of these."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Writes every evaluation of a sample to a folder, a text each.

        python -m i3d_torch.multi_evaluate --output_dir=out

    {imagenet,no_imagenet}_{rgb,flow,joint}.txt and rgb600.txt; failures are named at the end.
    """

    output_dir: Path = setting("The folder to write the texts to.", Path("out"))
    sample: str = setting(
        "The sample to classify.", "cricket", choices=tuple(models.published.SAMPLES)
    )
    threads: int | None = setting(
        "Threads of the network on a CPU; by default OMP_NUM_THREADS, or one a core.",
        None,
        minimum=1,
    )


def run(settings: Settings, make: MakePredictor, backend: str) -> int:
    """Writes all texts, and returns 1 if any failed; the others go on, and stderr names it."""
    models.keep_freed_memory()
    found: dict[str, Result] = {}
    failed: dict[str, str] = {}
    for name, row in EVALUATIONS.items():
        try:
            found[name] = evaluate(dataclasses.replace(row, sample=settings.sample), make, backend)
        except (ValueError, OSError) as error:
            failed[name] = " ".join(str(error).splitlines())
    for name in _PRETRAINED:
        rgb, flow = (found.get(f"{name}_{stream}") for stream in ("rgb", "flow"))
        if rgb and flow:
            found[f"{name}_joint"] = Result(rgb.logits + flow.logits, rgb.classes, {})
        else:
            failed[f"{name}_joint"] = "a stream failed"
    for name, result in found.items():
        write_text(settings.output_dir / f"{name}.txt", result.text())
    print(f"done: {len(found)}, failed: {len(failed)}", file=sys.stderr)
    for name, reason in failed.items():
        print(f"  {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0
