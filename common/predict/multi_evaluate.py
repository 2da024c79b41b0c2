"""What `i3d_tf.multi_evaluate` and `i3d_torch.multi_evaluate` share: every evaluation of a sample.

The release's published `no_imagenet_*` texts are copies of the `imagenet_*` ones, because a flag
was misread there. Here they are what the name says.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from absl import flags, logging

from common import memory
from common.flags import THREADS
from common.io import write_text
from common.predict import evaluate_sample
from common.predict.evaluate_sample import SAMPLE, Floats, Options, Predict

OUTPUT_DIR = flags.DEFINE_string("output_dir", "out", "The folder to write the texts to.")
for _flag in (SAMPLE, THREADS):
    flags.declare_key_flag(_flag.name)

EVALUATIONS: dict[str, Options] = {
    **{
        f"{'imagenet' if imagenet else 'no_imagenet'}_{eval_type}": Options(
            eval_type=eval_type, imagenet_pretrained=imagenet
        )
        for imagenet in (True, False)
        for eval_type in ("rgb", "flow", "joint")
    },
    "rgb600": Options(eval_type="rgb600", imagenet_pretrained=False),
}
"""By file name without its ending."""


def main(predict: Predict, backend: str) -> int:
    """The command; its exit status is 1 when something failed."""
    memory.keep()
    return run(Path(OUTPUT_DIR.value), SAMPLE.value, predict, backend)


def run(folder: Path, sample: str, predict: Predict, backend: str) -> int:
    """Writes a text an evaluation to `folder`; one that fails does not stop the others.

    Returns:
        0 when all were written, 1 otherwise; the summary on stderr names each reason.
    """
    computed: dict[tuple[str, tuple[int, ...]], Floats] = {}

    def once(checkpoint: str, clip: Floats, architecture: str | None) -> Floats:
        key = (checkpoint, clip.shape)  # joint takes what rgb and flow have computed
        if key not in computed:
            computed[key] = np.asarray(predict(checkpoint, clip, architecture), np.float32)
        return computed[key]

    failed: dict[str, str] = {}
    for name, row in EVALUATIONS.items():
        options = dataclasses.replace(row, sample=sample)
        try:
            write_text(
                folder / f"{name}.txt", evaluate_sample.evaluate(options, once, backend).text()
            )
        except (ValueError, OSError) as error:
            failed[name] = " ".join(str(error).splitlines())
            logging.error("%s: %s", name, failed[name])
        else:
            logging.info("wrote %s", folder / f"{name}.txt")
    print(f"done: {len(EVALUATIONS) - len(failed)}, failed: {len(failed)}", file=sys.stderr)
    for name, reason in failed.items():
        print(f"  {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0
