"""Extracts features in TensorFlow; see `common.features.settings`."""

from common import command
from common.features.command import run
from common.features.settings import Settings
from i3d_tf import devices, predictor

main = command.with_predictors(run, devices, predictor)

if __name__ == "__main__":
    command.start(main, Settings)
