"""Trains a network in PyTorch; see `common.training.command`."""

import functools

from common import command
from common.training.command import Settings, train
from i3d_torch.devices import connected
from i3d_torch.train_step import TrainStep

main = functools.partial(train, train_step=TrainStep, connected=connected)

if __name__ == "__main__":
    command.start(main, Settings)
