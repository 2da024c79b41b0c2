r"""Trains, or fine-tunes, a network in TensorFlow.

    python -m i3d_tf.train --recipe=finetune --annotations=ucf101_1.json --rgb=frames \
        --checkpoint=rgb_scratch --output=runs/rgb
    python -m i3d_tf.train --recipe=finetune --streams=flow --annotations=ucf101_1.json \
        --flow=flow --checkpoint=flow_imagenet --output=runs/flow --set batch=16 --set steps=20000
    TF_CONFIG=... python -m i3d_tf.train --recipe=nonlocal_400k ...

The run is in OUTPUT: snapshots from which the same command goes on after it was killed, log.jsonl,
tensorboard, and at the end curves.png and model.safetensors, the weights, with model.json, which
`evaluate` reads; model_best.safetensors are those of the best evaluation. --set changes a field of
the recipe (`common/training/recipes.py`); --show prints it.
"""

from collections.abc import Sequence

from absl import flags

from common import command
from common.flags import THREADS
from common.training import command as training
from i3d_tf import devices, learner, processes

flags.adopt_module_key_flags(training)


def main(argv: Sequence[str]) -> None:
    command.no_arguments(argv)
    devices.use_threads(THREADS.value)
    processes.make_deterministic()
    training.main(learner.create, processes.connected)


if __name__ == "__main__":
    command.run(main)
