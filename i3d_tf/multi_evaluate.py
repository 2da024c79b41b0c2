"""Writes every evaluation of a sample to a folder, a text each, in TensorFlow 2 and Sonnet 2.

    python -m i3d_tf.multi_evaluate --output_dir=out

{imagenet,no_imagenet}_{rgb,flow,joint}.txt and rgb600.txt; what fails is named at the end.
"""

from collections.abc import Sequence

from absl import flags

from common import command
from common.flags import THREADS
from common.predict import multi_evaluate
from i3d_tf import devices
from i3d_tf.evaluate_sample import predict

flags.adopt_module_key_flags(multi_evaluate)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    devices.use_threads(THREADS.value)
    return multi_evaluate.main(predict, "i3d_tf")


if __name__ == "__main__":
    command.run(main)
