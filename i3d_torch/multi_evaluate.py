"""Writes every evaluation of a sample in PyTorch; see `common.predict.multi_evaluate`."""

from common import command
from common.predict.multi_evaluate import Settings, run
from i3d_torch import devices, predictor

main = command.with_predictors(run, devices, predictor)

if __name__ == "__main__":
    command.start(main, Settings)
