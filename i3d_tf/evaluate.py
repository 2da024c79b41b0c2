r"""Evaluates one stream, or two fused, on a data set in TensorFlow.

    python -m i3d_tf.evaluate --annotations=ucf101_1.json --rgb=frames \
        --checkpoint=runs/rgb/model.safetensors --output=results
    python -m i3d_tf.evaluate --annotations=ucf101_1.json --streams=rgb,flow --rgb=frames \
        --flow=flow --rgb_checkpoint=runs/rgb/model.safetensors \
        --flow_checkpoint=runs/flow/model.safetensors --output=results --protocol=thirty_view

Writes OUTPUT/results.json, results.txt, confusion.png and the scores of each stream, which
`python -m common.evaluation.fuse` fuses in another way later. The status is 1 where more
videos failed than --allow_failures says.
"""

from collections.abc import Sequence

from absl import flags

from common import command
from common.evaluation import command as evaluation
from common.flags import THREADS
from i3d_tf import devices
from i3d_tf.predictor import make_predictor

flags.adopt_module_key_flags(evaluation)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    devices.use_threads(THREADS.value)
    return evaluation.main(make_predictor, "i3d_tf")


if __name__ == "__main__":
    command.run(main)
