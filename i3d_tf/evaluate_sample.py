"""Classifies a sample or a video in TensorFlow 2; see `common.predict.evaluate_sample`."""

from common import command
from common.predict import evaluate_sample
from common.predict.evaluate_sample import Settings
from i3d_tf import devices
from i3d_tf.predictor import make_predictor


def main(settings: Settings) -> None:
    devices.use_threads(settings.threads)
    evaluate_sample.run(settings, make_predictor, "i3d_tf")


if __name__ == "__main__":
    command.start(main, Settings)
