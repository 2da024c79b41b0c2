"""TV-L1 optical flow with one signature and several engines.

The flow of frame i says where its pixels are in frame i + 1: x to the right, y down, in pixels.
"""

import ctypes
import dataclasses
import functools
import importlib
import importlib.util
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from common.flow.params import TVL1Params as TVL1Params

Grey = NDArray[np.uint8] | NDArray[np.float32]
Flow = NDArray[np.float32]

ENGINES = ("opencv", "numba", "torch")

BATCH = 32  # pairs that the torch engine takes at once

_SMALLEST = 2  # pixels a side: below, there is no gradient

_DEFAULTS = TVL1Params()


class TooFewFramesError(ValueError):
    """Fewer than two frames, between which there is no flow."""


def tvl1(
    previous: Grey, following: Grey, params: TVL1Params = _DEFAULTS, engine: str = "auto"
) -> Flow:
    """TV-L1 flow from one frame to the next.

    Args:
        previous: [H, W] grey, uint8 or float32, 0 to 255.
        following: The same size and type.
        params: OpenCV's defaults unless given.
        engine: "opencv"; "numba", the same algorithm on the CPU, compiled; "torch", batched, for
            GPUs; or "auto": see `resolve`.

    Returns:
        [H, W, 2] float32: x and y in pixels.

    Raises:
        ValueError: Frames of another shape, size, type or range, or no such engine.
        ImportError: The engine needs a package that is not installed.
    """
    return next(flows((previous, following), params, engine))


def flows(
    frames: Iterable[Grey],
    params: TVL1Params = _DEFAULTS,
    engine: str = "auto",
    threads: int = 1,
    batch: int = BATCH,
) -> Iterator[Flow]:
    """The flow of each frame but the last to the one after it.

    Streams: no more frames are held than are in work.

    Args:
        frames: As for `tvl1`, all of one size and type; at least two.
        params: As for `tvl1`.
        engine: As for `tvl1`.
        threads: Pairs worked on at a time by the engines on the CPU; results are the same.
        batch: Pairs worked on at a time by "torch".

    Yields:
        [H, W, 2] float32, one fewer than there are frames.

    Raises:
        ValueError: As for `tvl1`; or (`TooFewFramesError`) fewer than two frames.
        ImportError: As for `tvl1`.
    """
    engine = resolve(engine)
    if threads < 1 or batch < 1:
        raise ValueError(f"threads and batch must be at least 1. Received: {threads}, {batch}.")
    pairs = _pairs(frames)
    if engine == "torch":
        return _batched(pairs, params, batch)
    return _threaded(pairs, params, engine, threads)


def resolve(engine: str) -> str:
    """The engine that a name means: "auto" is "torch" where a CUDA device is, else "numba".

    Raises:
        ValueError: There is no such engine.
    """
    if engine == "auto":
        return "torch" if _cuda() else "numba"
    if engine not in ENGINES:
        raise ValueError(
            f"no such flow engine. Expected auto or one of {', '.join(ENGINES)}. "
            f"Received: {engine!r}."
        )
    return engine


def describe(engine: str, params: TVL1Params = _DEFAULTS) -> dict[str, object]:
    """Engine and parameters, as JSON has them; raises as `resolve`."""
    return {"engine": resolve(engine), "parameters": dataclasses.asdict(params)}


def on_gpu(engine: str) -> bool:
    """Whether an engine would work on a GPU here; raises as `resolve`."""
    return resolve(engine) == "torch" and _cuda()


@functools.cache
def _cuda() -> bool:
    """Whether torch can use a GPU; torch is only imported where there is a driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def _pairs(frames: Iterable[Grey]) -> Iterator[tuple[Grey, Grey]]:
    previous: Grey | None = None
    count = 0
    for frame in frames:
        frame = _checked(frame, previous)
        if previous is not None:
            yield previous, frame
        previous = frame
        count += 1
    if count < 2:
        raise TooFewFramesError(f"flow needs at least two frames. Received: {count}.")


def _checked(frame: Grey, previous: Grey | None) -> Grey:
    if frame.ndim != 2 or frame.dtype not in (np.uint8, np.float32):
        raise ValueError(
            "expected grey frames [H, W], uint8 or float32 in 0 to 255. "
            f"Received: shape {list(frame.shape)}, {frame.dtype}."
        )
    if min(frame.shape) < _SMALLEST:
        raise ValueError(
            f"expected frames of at least {_SMALLEST}x{_SMALLEST} pixels. "
            f"Received: {list(frame.shape)}."
        )
    if previous is not None and (frame.shape, frame.dtype) != (previous.shape, previous.dtype):
        raise ValueError(
            f"all frames must have one size and type. Expected: {list(previous.shape)}, "
            f"{previous.dtype}. Received: {list(frame.shape)}, {frame.dtype}."
        )
    # Written so that NaN fails, too.
    if frame.dtype == np.float32 and not (frame.min() >= 0 and frame.max() <= 255):
        raise ValueError(
            "expected values from 0 to 255. "
            f"Received: {float(frame.min()):g} to {float(frame.max()):g}."
        )
    return frame


def _threaded(
    pairs: Iterator[tuple[Grey, Grey]], params: TVL1Params, engine: str, threads: int
) -> Iterator[Flow]:
    module = importlib.import_module(f"common.flow._{engine}")
    if threads == 1:
        for previous, following in pairs:
            yield module.flow(previous, following, params)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Flow]] = deque()
        try:
            for previous, following in pairs:
                waiting.append(pool.submit(module.flow, previous, following, params))
                # One more than there are threads, so that none waits for us.
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _batched(pairs: Iterator[tuple[Grey, Grey]], params: TVL1Params, batch: int) -> Iterator[Flow]:
    if importlib.util.find_spec("torch") is None:
        raise ImportError(
            "the flow engine torch needs PyTorch: pip install 'i3d[torch]', or use "
            "--flow_engine=numba."
        )
    from common.flow import _torch

    held: list[tuple[Grey, Grey]] = []

    def results() -> Iterator[Flow]:
        previous, following = (np.stack(frames) for frames in zip(*held, strict=True))
        yield from _torch.flow(previous, following, params)
        held.clear()

    for pair in pairs:
        held.append(pair)
        if len(held) == batch:
            yield from results()
    if held:
        yield from results()
