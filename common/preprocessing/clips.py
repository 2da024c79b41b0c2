"""Which frames of a stored clip are taken: lists of 0-based frame numbers, and nothing else.

A clip has `total` frames. A window is `duration` frames of it, every `rate`-th, and so spans
(duration - 1) * rate + 1. What goes beyond the end goes on from the beginning: frame numbers are
taken modulo `total`, so that shorter clips are looped (Carreira and Zisserman, CVPR 2017).
"""

import numpy as np


def random_window(total: int, duration: int, rate: int, rng: np.random.Generator) -> list[int]:
    """A window that begins anywhere from where it fits, all equally likely; else at 0.

    Exactly one number is drawn, whatever the sizes.

    Raises:
        ValueError: A number below 1.
    """
    last = _last_start(total, duration, rate)
    return _window(int(rng.integers(last + 1)), total, duration, rate)


def center_window(total: int, duration: int, rate: int) -> list[int]:
    """The window in the middle, or one frame before it; that from 0 where none fits.

    Raises:
        ValueError: A number below 1.
    """
    return _window(_last_start(total, duration, rate) // 2, total, duration, rate)


def even_windows(total: int, duration: int, rate: int, count: int) -> list[list[int]]:
    """`count` windows, of which number j begins at frame j * total / count, rounded down.

    This is how non-local networks are tested (facebookresearch/video-nonlocal-net, with 10 of
    them), and the reimplementation Caoliangjie/video-action-recognition-models: the last windows
    go on from the beginning of the clip. (PySlowFast's are spread from the first to the last that
    fits.)

    Raises:
        ValueError: A number below 1.
    """
    _check(total=total, duration=duration, rate=rate, count=count)
    return [_window(j * total // count, total, duration, rate) for j in range(count)]


def sliding_windows(total: int, duration: int, rate: int, stride: int) -> list[list[int]]:
    """Windows that begin every `stride` taken frames, up to the first that leaves the clip.

    That one holds what is left, repeated until it is long enough. These are the rules of
    kenshohara/3D-ResNets-PyTorch (`inference_stride`), for which `rate` is 1.

    Args:
        total: Frames there are.
        duration: Frames of a window.
        rate: Every so-many-th frame is taken.
        stride: From window to window, in frames that are taken: `duration` for one after the other.

    Raises:
        ValueError: A number below 1.
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
    """The first `most` frames at most, and looped to `least` at least.

    With 250, ten seconds, what InceptionI3D is tested on (Carreira and Zisserman, CVPR 2017); its
    last pool needs `least` 9.

    Raises:
        ValueError: A number below 1, or `least` above `most`.
    """
    _check(total=total, most=most, least=least)
    if least > most:
        raise ValueError(f"least must be at most most, {most}. Received: {least}.")
    return _window(0, total, max(min(total, most), least), 1)


def localisation_frames(total: int, count: int = 25) -> list[int]:
    """What is shown at `count` moments, of which number j is j / count of the way through.

    Those of the localisation metric of Charades (`Charades_v1_localize.m`), whose labels are of
    these moments, too: j * length / 25 from j = 0 to 24. (charades-algorithms takes
    floor(linspace(0, total - 1, 25)), up to one 25th of the clip later.) Clips of fewer frames
    have some of them twice.

    Raises:
        ValueError: A number below 1.
    """
    _check(total=total, count=count)
    return [j * total // count for j in range(count)]


def _last_start(total: int, duration: int, rate: int) -> int:
    """The last frame from which a window fits; 0 where none does."""
    _check(total=total, duration=duration, rate=rate)
    return max(total - ((duration - 1) * rate + 1), 0)


def _window(start: int, total: int, duration: int, rate: int) -> list[int]:
    return [(start + k * rate) % total for k in range(duration)]


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1 to choose frames. Received: {number}.")
