"""Weights in and out of a model; the twin of `i3d_tf/weights.py`."""

import os
from collections.abc import Mapping

import numpy as np
import torch

from common import arch
from convert import hub
from i3d_torch.model import VideoModel, blank


def load(checkpoint: str | os.PathLike[str], architecture: str | None = None) -> VideoModel:
    """Makes the model that a checkpoint belongs to, with its weights, ready for inference.

    Args:
        checkpoint: Name of a published checkpoint, or path of one in any format.
        architecture: A name in `common.arch.ARCHITECTURES`, where the weights fit several.

    Raises:
        CheckpointError: The file is damaged or not of a known kind, or fits several networks.
        FileNotFoundError: There is no such file, or no source of it answers.
    """
    weights = hub.load(checkpoint, hub.ConversionOptions(architecture=architecture))
    model = blank(lambda: VideoModel(weights.net)).eval()
    assign(model, weights.arrays)
    return model


def save(
    model: VideoModel,
    path: str | os.PathLike[str],
    to: str | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the weights of a model; the path's ending says in which format.

    Args:
        model: The model.
        path: The file to write, or the prefix of a TensorFlow checkpoint.
        to: The dialect, see `convert.hub.convert`; None takes the usual one of the format.
        overwrite: Replaces an existing file.

    Raises:
        FileExistsError: The file exists and `overwrite` is false.
        ValueError: The ending or the dialect is not known.
    """
    hub.write(hub.Weights(model.net, arrays(model)), path, to, overwrite)


def assign(model: VideoModel, arrays: Mapping[str, np.ndarray]) -> None:
    """Sets every parameter and running statistic from canonical arrays, exactly the model's.

    Raises:
        CheckpointError: Names or shapes differ; nothing is changed then.
    """
    arch.check_arrays(model.net, arrays)
    own = model.state_dict()
    with torch.no_grad():
        for name, array in arrays.items():
            # torch wants memory of its own: arrays may be read-only views of a file.
            own[name].copy_(torch.from_numpy(np.array(array, dtype=np.float32)))


def arrays(model: VideoModel) -> dict[str, np.ndarray]:
    """Copies of every parameter and running statistic, by canonical name and layout."""
    state = model.state_dict()
    return {
        parameter.name: state[parameter.name].detach().float().cpu().numpy().copy()
        for parameter in arch.parameters(model.net)
    }
