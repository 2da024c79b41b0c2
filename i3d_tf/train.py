"""Trains a network in TensorFlow."""

from common import command
from common.training.command import run
from common.training.settings import Settings
from i3d_tf import processes
from i3d_tf.train_step import TrainStep


def main(settings: Settings) -> int:
    return run(settings, TrainStep, processes.connected)


if __name__ == "__main__":
    command.start(main, Settings)
