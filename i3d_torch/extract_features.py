r"""Extracts features of videos, folders of frames or tracklets in PyTorch.

    python -m i3d_torch.extract_features --input=my.mp4 --output=features --checkpoint=rgb_scratch
    python -m i3d_torch.extract_features --input=videos --output=features --mode=dense \
        --checkpoint=rgb_scratch
    python -m i3d_torch.extract_features --input=videos --output=features --preset=resnet50_8 \
        --checkpoint=i3d_r50.pkl --tracking_folder=tracks --tracking_suffix=_tracks.pkl

Each video's rows are in OUTPUT/NAME.npy, and in NAME.json what they are of, in frames and seconds,
and what they were made with. The command may be stopped, repeated, and run by several machines on
one output. The status is 1 where more videos failed than --allow_failures says.
"""

from collections.abc import Sequence

from absl import flags

from common import command
from common.features import command as features
from common.flags import THREADS
from i3d_torch import devices
from i3d_torch.predictor import make_predictor

flags.adopt_module_key_flags(features)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    devices.use_threads(THREADS.value)
    return features.main(make_predictor, "i3d_torch")


if __name__ == "__main__":
    command.run(main)
