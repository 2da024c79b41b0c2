"""Writes every evaluation of a sample to a folder, a text each, in PyTorch.

    python -m i3d_torch.multi_evaluate --output_dir=out

{imagenet,no_imagenet}_{rgb,flow,joint}.txt and rgb600.txt; what fails is named at the end.
"""

from collections.abc import Sequence

from absl import flags

from common import command
from common.flags import THREADS
from common.predict import multi_evaluate
from i3d_torch import devices
from i3d_torch.evaluate_sample import predict

flags.adopt_module_key_flags(multi_evaluate)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    devices.use_threads(THREADS.value)
    return multi_evaluate.main(predict, "i3d_torch")


if __name__ == "__main__":
    command.run(main)
