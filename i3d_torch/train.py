"""Trains a network in PyTorch."""

from common import command
from common.training.command import run
from common.training.settings import Settings
from i3d_torch import processes
from i3d_torch.train_step import TrainStep


def main(settings: Settings) -> int:
    return run(settings, TrainStep, processes.connected)


if __name__ == "__main__":
    command.start(main, Settings)
