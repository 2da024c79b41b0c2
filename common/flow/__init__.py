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
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8] | NDArray[np.float32]
Flow = NDArray[np.float32]

ENGINES = ("opencv", "numba", "torch")
BATCH = 32  # pairs that the torch engine takes at once
_SMALLEST = 2  # pixels a side: below, there is no gradient


@dataclasses.dataclass(frozen=True)
class TVL1Params:
    """Parameters of the duality-based TV-L1 flow of Zach, Pock and Bischof (DAGM 2007).

    Names and defaults are those of OpenCV's `DualTVL1OpticalFlow`, with which the flow of Kinetics
    was made (gamma is 0).
    """

    tau: float = 0.25  # time step of the dual variables; stable up to 0.25
    lambda_: float = 0.15  # weight of the data term: smaller is smoother
    theta: float = 0.3  # tightness of the coupling between the two parts of the problem
    scales: int = 5  # levels of the pyramid; fewer if one would have a side below 16 pixels
    warps: int = 5  # times the second frame is warped by the flow so far, at each level
    epsilon: float = 0.01  # iterations end at a smaller change (root mean square, pixels)
    inner_iterations: int = 30  # between two median filters
    outer_iterations: int = 10  # median filters for each warp
    scale_step: float = 0.8  # size of a level as a fraction of the next finer one
    median: int = 5  # side of the median filter: 1 (none), 3 or 5 pixels

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:  # so NaN fails, too
                least = "at least 1" if isinstance(value, int) else "above 0"
                raise ValueError(f"{name} must be {least}. Received: {value}.")
        if not self.scale_step < 1 or self.median not in (1, 3, 5):
            got = f"{self.scale_step} and {self.median}"
            raise ValueError(f"scale_step must be below 1, and median 1, 3 or 5. Received: {got}.")

    @classmethod
    def with_values(cls, texts: Iterable[str]) -> "TVL1Params":
        """Returns the defaults, changed as NAME=VALUE says; `ValueError` for anything else."""
        kinds = {name: type(value) for name, value in vars(cls()).items()}
        values: dict[str, Any] = {}
        for text in texts:
            name, _, value = text.partition("=")
            try:
                values[name] = kinds[name](value)
            except (KeyError, ValueError) as error:
                raise ValueError(
                    f"expected a parameter of TV-L1 as NAME=VALUE, NAME being one of "
                    f"{', '.join(kinds)}. Received: {text!r}."
                ) from error
        return cls(**values)


_DEFAULTS = TVL1Params()


def tvl1(
    previous: Grey, following: Grey, params: TVL1Params = _DEFAULTS, engine: str = "auto"
) -> Flow:
    """Computes the flow [H, W, 2] from one frame [H, W] to the next: see `flows`."""
    return next(flows((previous, following), params, engine))


def flows(
    frames: Iterable[Grey],
    params: TVL1Params = _DEFAULTS,
    engine: str = "auto",
    threads: int = 1,
    batch: int = BATCH,
) -> Iterator[Flow]:
    """Computes the TV-L1 flow of each frame but the last to the next, as a stream.

    Only frames that are being worked on are held, as copies.

    Args:
        frames: At least two, [H, W] grey, uint8 or float32 in 0..255, all of one size and type.
        params: See `TVL1Params`.
        engine: "opencv"; "numba", the same for CPUs; "torch" for GPUs; or "auto": see `resolve`.
        threads: Pairs that the CPU engines work on at a time; results are the same.
        batch: Pairs that "torch" works on at a time.

    Yields [H, W, 2] float32, x and y in pixels, one fewer than there are frames. Raises
    `ValueError` for other frames (floats in 0..1, too), and `ImportError` for an engine whose
    package is not installed.
    """
    engine = resolve(engine)
    pairs = _pairs(frames)
    if engine == "torch":
        return _batched(pairs, params, batch)
    return _threaded(pairs, params, engine, threads)


def resolve(engine: str) -> str:
    """Returns the engine of a name: "auto" is "torch" with a CUDA device, else "numba"."""
    if engine == "auto":
        return "torch" if _cuda() else "numba"
    if engine not in ENGINES:
        expected = f"auto or one of {', '.join(ENGINES)}"
        raise ValueError(f"no such flow engine. Expected {expected}. Received: {engine!r}.")
    return engine


def describe(engine: str, params: TVL1Params = _DEFAULTS) -> dict[str, object]:
    """Returns engine and parameters for JSON."""
    return {"engine": resolve(engine), "parameters": dataclasses.asdict(params)}


def on_gpu(engine: str) -> bool:
    """Returns whether an engine would work on a GPU here."""
    return resolve(engine) == "torch" and _cuda()


@functools.cache
def _cuda() -> bool:
    """Torch is only imported if there is a driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
        import torch
    except (OSError, ImportError):
        return False
    return bool(torch.cuda.is_available())


def _pairs(frames: Iterable[Grey]) -> Iterator[tuple[Grey, Grey]]:
    previous: Grey | None = None
    count = 0
    for frame in frames:
        count += 1
        _check(frame, frame if previous is None else previous)
        held = frame.copy()  # callers may reuse their buffer
        if previous is not None:
            yield previous, held
        previous = held
    if count < 2:
        raise ValueError(f"flow needs at least two frames. Received: {count}.")


def _check(frame: Grey, previous: Grey) -> None:
    right = frame.ndim == 2 and frame.dtype in (np.uint8, np.float32)
    alike = (frame.shape, frame.dtype) == (previous.shape, previous.dtype)
    if not right or not alike or min(frame.shape) < _SMALLEST:
        raise ValueError(
            f"expected grey frames [H, W] of at least {_SMALLEST}x{_SMALLEST} pixels, uint8 or "
            f"float32, all of one size and type. Received: {list(frame.shape)} of {frame.dtype} "
            f"after {list(previous.shape)} of {previous.dtype}."
        )
    low, high = float(frame.min()), float(frame.max())
    fractions = high <= 1 and bool((frame % 1).any())  # as if white were 1
    if not (low >= 0 and high <= 255) or fractions:  # so NaN fails, too
        raise ValueError(f"expected values from 0 to 255. Received: {low:g} to {high:g}.")


def _threaded(
    pairs: Iterator[tuple[Grey, Grey]], params: TVL1Params, engine: str, threads: int
) -> Iterator[Flow]:
    flow = importlib.import_module(f"common.flow.{engine}_engine").flow
    if threads == 1:
        yield from (flow(previous, following, params) for previous, following in pairs)
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
        raise ImportError("the flow engine torch needs PyTorch: pip install 'i3d[torch]'.")
    from common.flow import torch_engine

    while batch := list(itertools.islice(pairs, size)):
        previous, following = (np.stack(frames) for frames in zip(*batch, strict=True))
        yield from torch_engine.flow(previous, following, params)
