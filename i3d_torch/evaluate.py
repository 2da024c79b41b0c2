"""Evaluates on a data set in PyTorch; see `common.evaluation.command`."""

from common import command
from common.evaluation.command import Settings, run
from i3d_torch import devices
from i3d_torch.predictor import make_predictor


def main(settings: Settings) -> int:
    devices.use_threads(settings.threads)
    return run(settings, make_predictor, "i3d_torch")


if __name__ == "__main__":
    command.start(main, Settings)
