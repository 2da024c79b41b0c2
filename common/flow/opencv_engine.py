"""TV-L1 by OpenCV's contrib module, the engine that the others are measured against."""

import cv2
import numpy as np

from common.flow import Flow, Grey, TVL1Params


def flow(previous: Grey, following: Grey, params: TVL1Params) -> Flow:
    """Computes flow [H, W, 2] in pixels of two frames [H, W], uint8 or float32, in 0..255."""
    algorithm = cv2.optflow.DualTVL1OpticalFlow_create(
        tau=params.tau,
        lambda_=params.lambda_,
        theta=params.theta,
        nscales=params.scales,
        warps=params.warps,
        epsilon=params.epsilon,
        innnerIterations=params.inner_iterations,  # spelt so
        outerIterations=params.outer_iterations,
        scaleStep=params.scale_step,
        gamma=0.0,
        medianFiltering=params.median,
        useInitialFlow=False,
    )
    white = np.float32(255)  # OpenCV expects float32 in 0..1
    pair = [each if each.dtype == np.uint8 else each / white for each in (previous, following)]
    result: Flow = algorithm.calc(*pair, None)
    return result
