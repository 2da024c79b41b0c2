"""Computes the Fréchet Video Distance in TensorFlow; see `common.fvd.command`."""

from common import command
from common.fvd.command import Settings, run
from i3d_tf import devices, predictor

main = command.with_predictors(run, devices, predictor)

if __name__ == "__main__":
    command.start(main, Settings)
