"""Writes every evaluation of a sample in PyTorch; see `common.predict.multi_evaluate`."""

from common import command
from common.predict import multi_evaluate
from common.predict.multi_evaluate import Settings
from i3d_torch import devices
from i3d_torch.predictor import make_predictor


def main(settings: Settings) -> int:
    devices.use_threads(settings.threads)
    return multi_evaluate.run(settings, make_predictor, "i3d_torch")


if __name__ == "__main__":
    command.start(main, Settings)
