"""Extracts features in TensorFlow; `--help` says more."""

from common import command
from common.features.command import run
from common.features.settings import Settings as Settings
from i3d_tf import devices
from i3d_tf.predictor import make_predictor


def main(settings: Settings) -> int:
    devices.use_threads(settings.threads)
    return run(settings, make_predictor, "i3d_tf")


if __name__ == "__main__":
    command.start(main, Settings)
