"""TV-L1 optical flow: one signature, several engines.

The flow of frame i says where its pixels are in frame i + 1: x to the right, y down, in pixels.
"""

import ctypes
import dataclasses
import functools
import importlib
import importlib.util
import itertools
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
    """Computes the TV-L1 flow from one frame to the next.

    Args:
        previous: [H, W] grey, uint8 or float32, in 0..255.
        following: The next frame, of the same size and type.
        params: OpenCV's defaults unless given.
        engine: "opencv"; "numba", the same algorithm compiled for CPUs; "torch", batched, for
            GPUs; or "auto": see `resolve`.

    Returns:
        [H, W, 2] float32: x and y in pixels.

    Raises:
        ValueError: The frames differ in size or type, are no grey pictures in 0..255 (floats in
            0..1 are refused, too), or there is no such engine.
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
    """Computes the flow of each frame but the last to the next, as a stream.

    Frames are copied as they are taken, so a caller may reuse its buffer; only those that are being
    worked on are held.

    Args:
        frames: At least two, as for `tvl1`.
        params: As for `tvl1`.
        engine: As for `tvl1`.
        threads: Pairs that the CPU engines work on at a time; results are the same.
        batch: Pairs that "torch" works on at a time.

    Yields:
        [H, W, 2] float32, one fewer than there are frames. Raises as `tvl1`, and
        `TooFewFramesError` for fewer than two frames.
    """
    engine = resolve(engine)
    pairs = _pairs(frames)
    if engine == "torch":
        return _batched(pairs, params, batch)
    return _threaded(pairs, params, engine, threads)


def resolve(engine: str) -> str:
    """Returns the engine of a name: "auto" is "torch" with a CUDA device, else "numba".

    Raises `ValueError` for an engine that there is not.
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
    """Returns engine and parameters for JSON; raises as `resolve`."""
    return {"engine": resolve(engine), "parameters": dataclasses.asdict(params)}


def on_gpu(engine: str) -> bool:
    """Returns whether an engine would work on a GPU here; raises as `resolve`."""
    return resolve(engine) == "torch" and _cuda()


@functools.cache
def _cuda() -> bool:
    """Returns whether torch can use a GPU; torch is only imported if there is a driver."""
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
    paired = False
    for frame in frames:
        _check(frame, previous)
        held = frame.copy()  # callers may reuse their buffer
        if previous is not None:
            paired = True
            yield previous, held
        previous = held
    if not paired:
        received = 0 if previous is None else 1
        raise TooFewFramesError(f"flow needs at least two frames. Received: {received}.")


def _check(frame: Grey, previous: Grey | None) -> None:
    received = f"Received: {list(frame.shape)} of {frame.dtype}."
    if frame.ndim != 2 or frame.dtype not in (np.uint8, np.float32) or min(frame.shape) < _SMALLEST:
        raise ValueError(
            f"expected grey frames [H, W] of at least {_SMALLEST}x{_SMALLEST} pixels, uint8 or "
            f"float32 in 0 to 255. {received}"
        )
    if previous is not None and (frame.shape, frame.dtype) != (previous.shape, previous.dtype):
        raise ValueError(
            f"all frames must have one size and type. Expected: {list(previous.shape)} of "
            f"{previous.dtype}. {received}"
        )
    if frame.dtype == np.uint8:
        return
    low, high = float(frame.min()), float(frame.max())
    if not (low >= 0 and high <= 255):  # so NaN fails, too
        raise ValueError(f"expected values from 0 to 255. Received: {low:g} to {high:g}.")
    if high <= 1 and (frame % 1).any():
        raise ValueError(
            f"expected values from 0 to 255. Received fractions from {low:g} to {high:g}, as if "
            "white were 1: multiply by 255."
        )


def _threaded(
    pairs: Iterator[tuple[Grey, Grey]], params: TVL1Params, engine: str, threads: int
) -> Iterator[Flow]:
    flow = importlib.import_module(f"common.flow.{engine}_engine").flow
    if threads == 1:
        for previous, following in pairs:
            yield flow(previous, following, params)
        return
    waiting: deque[Future[Flow]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for previous, following in pairs:
                waiting.append(pool.submit(flow, previous, following, params))
                if len(waiting) > threads:  # one more, so that no thread waits for us
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _batched(pairs: Iterator[tuple[Grey, Grey]], params: TVL1Params, size: int) -> Iterator[Flow]:
    if importlib.util.find_spec("torch") is None:
        raise ImportError(
            "the flow engine torch needs PyTorch: pip install 'i3d[torch]', or use "
            "--flow_engine=numba."
        )
    from common.flow import torch_engine

    while batch := list(itertools.islice(pairs, size)):
        previous, following = (np.stack(frames) for frames in zip(*batch, strict=True))
        yield from torch_engine.flow(previous, following, params)
