"""Classifies a sample or a video in PyTorch; see `common.predict.evaluate_sample`."""

from common import command
from common.predict import evaluate_sample
from common.predict.evaluate_sample import Settings
from i3d_torch import devices
from i3d_torch.predictor import make_predictor


def main(settings: Settings) -> None:
    devices.use_threads(settings.threads)
    evaluate_sample.run(settings, make_predictor, "i3d_torch")


if __name__ == "__main__":
    command.start(main, Settings)
