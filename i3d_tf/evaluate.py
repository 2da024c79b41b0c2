"""Evaluates on a data set in TensorFlow; see `common.evaluation.command`."""

from common import command
from common.evaluation.command import Settings, run
from i3d_tf import devices
from i3d_tf.predictor import make_predictor


def main(settings: Settings) -> int:
    devices.use_threads(settings.threads)
    return run(settings, make_predictor, "i3d_tf")


if __name__ == "__main__":
    command.start(main, Settings)
