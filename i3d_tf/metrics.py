"""Fréchet Video Distance as a metric in TensorFlow; the twin of `i3d_torch/metrics.py`."""

import os
from typing import Any

from common.fvd import metric
from i3d_tf import predictor


class FVD(metric.FVD):
    """See `common.fvd.metric.FVD`; replicas and workers add theirs up with `merge`."""

    def __init__(
        self,
        recipe: str = "google",
        checkpoint: str | os.PathLike[str] = metric.CHECKPOINT,
        **options: Any,
    ):
        super().__init__(predictor.make_predictor, recipe, checkpoint, **options)
