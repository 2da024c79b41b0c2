"""Extracts features in PyTorch; `--help` says more."""

from common import command
from common.features.command import run
from common.features.settings import Settings as Settings
from i3d_torch import devices
from i3d_torch.predictor import make_predictor


def main(settings: Settings) -> int:
    devices.use_threads(settings.threads)
    return run(settings, make_predictor, "i3d_torch")


if __name__ == "__main__":
    command.start(main, Settings)
