"""Classifies a sample or a video in PyTorch; see `common.predict.evaluate_sample`."""

from common import command
from common.predict.evaluate_sample import Settings, run
from i3d_torch import devices, predictor

main = command.with_predictors(run, devices, predictor)

if __name__ == "__main__":
    command.start(main, Settings)
