"""Which frames of a clip are taken, as lists of 0-based frame numbers.

A clip has `total` frames. A window is `duration` frames of it, every `rate`-th, and so spans
(duration - 1) * rate + 1 frames. Frame numbers are taken modulo `total`, so that shorter clips are
looped (Carreira and Zisserman, CVPR 2017). Every function raises `ValueError` for a number below 1.
"""

import numpy as np


def random_window(total: int, duration: int, rate: int, rng: np.random.Generator) -> list[int]:
    """Draws a window, uniformly among those that fit (from 0 if none does), with one number."""
    last = _last_start(total, duration, rate)
    return _window(int(rng.integers(last + 1)), total, duration, rate)


def center_window(total: int, duration: int, rate: int) -> list[int]:
    """Returns the window in the middle, or half a frame before it; from 0 if none fits."""
    return _window(_last_start(total, duration, rate) // 2, total, duration, rate)


def even_windows(total: int, duration: int, rate: int, count: int) -> list[list[int]]:
    """Returns `count` windows, of which number j begins at frame floor(j * total / count).

    This is how non-local networks are tested (facebookresearch/video-nonlocal-net, with 10 of
    them): the last windows wrap around to the start of the clip. (PySlowFast spreads them from the
    first to the last that fits.)
    """
    _check(total=total, duration=duration, rate=rate, count=count)
    return [_window(j * total // count, total, duration, rate) for j in range(count)]


def sliding_windows(total: int, duration: int, rate: int, stride: int) -> list[list[int]]:
    """Returns windows that begin every `stride` taken frames, up to the first that leaves the clip.

    The last one holds what is left, repeated until it is long enough. A stride of `duration` gives
    one after the other. These are the rules of kenshohara/3D-ResNets-PyTorch (`inference_stride`),
    for which `rate` is 1.
    """
    _check(total=total, duration=duration, rate=rate, stride=stride)
    taken = list(range(0, total, rate))
    windows = []
    for start in range(0, len(taken), stride):
        part = taken[start : start + duration]
        windows.append([part[k % len(part)] for k in range(duration)])
        if len(part) < duration:
            break
    return windows


def whole(total: int, most: int, least: int = 1) -> list[int]:
    """Returns the first `most` frames at most, looped to at least `least`.

    InceptionI3D is tested on 250, ten seconds (Carreira and Zisserman, CVPR 2017); its last pool
    needs at least 9. Raises `ValueError` if `least` is above `most`.
    """
    _check(total=total, most=most, least=least)
    if least > most:
        raise ValueError(f"least must be at most most, {most}. Received: {least}.")
    return _window(0, total, max(min(total, most), least), 1)


def localisation_frames(total: int, count: int = 25) -> list[int]:
    """Returns the frames shown at `count` moments, of which number j is j / count of the way.

    These are the moments of the localisation metric of Charades (`Charades_v1_localize.m`), whose
    labels are of these moments, too: j * length / 25 from j = 0 to 24. (charades-algorithms takes
    floor(linspace(0, total - 1, 25)), up to one 25th of the clip later.) Clips of fewer frames
    repeat some of them.
    """
    _check(total=total, count=count)
    return [j * total // count for j in range(count)]


def _last_start(total: int, duration: int, rate: int) -> int:
    """Returns the last frame at which a window that fits begins; 0 if none fits."""
    _check(total=total, duration=duration, rate=rate)
    return max(total - ((duration - 1) * rate + 1), 0)


def _window(start: int, total: int, duration: int, rate: int) -> list[int]:
    return [(start + k * rate) % total for k in range(duration)]


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1 to choose frames. Received: {number}.")
