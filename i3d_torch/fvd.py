"""Computes the Fréchet Video Distance in PyTorch; see `common.fvd.command`."""

from common import command
from common.fvd.command import Settings, run
from i3d_torch import devices, predictor

main = command.with_predictors(run, devices, predictor)

if __name__ == "__main__":
    command.start(main, Settings)
