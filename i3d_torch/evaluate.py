"""Evaluates on a data set in PyTorch; see `common.evaluation.command`."""

from common import command
from common.evaluation.command import Settings, run
from i3d_torch import devices, predictor

main = command.with_predictors(run, devices, predictor)

if __name__ == "__main__":
    command.start(main, Settings)
