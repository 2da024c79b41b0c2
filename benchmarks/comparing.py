"""Compares ways to compute the same clips: time, share of the peak, memory and difference."""

import dataclasses
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import measuring
from measuring import Run, Work

from common import arch
from common.settings import setting

_SIDES = {"cpu": 2048, "gpu": 8192}  # of the matrices whose product is taken as the peak


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure."""

    rounds: int = setting("Turns of each form.", 5, minimum=1)
    device: str = setting("Where to compute.", "cpu", choices=("cpu", "gpu"))
    memory: bool = setting("Also measure the peak memory.", True)
    results: Path | None = setting("File for the tables.", None)


class Case(NamedTuple):
    """Clips for a network.

    Attributes:
        architecture: A name in `common.arch`.
        batch: Number of clips.
        frames: Frames of a clip.
        size: Height and width in pixels.
        device: "cpu" or "gpu".
    """

    architecture: str
    batch: int
    frames: int
    size: int
    device: str = "cpu"

    @property
    def gflop(self) -> float:
        """10^9 operations of convolutions and attention for the batch; a multiply-add is two."""
        net = arch.make(self.architecture)
        return 2e-9 * self.batch * arch.multiply_adds(net, (self.frames, self.size, self.size))


class Candidate(NamedTuple):
    """A way to compute.

    Attributes:
        backend: Name of the framework's package.
        form: Name of the way.
        precision: One of `common.models.PRECISIONS`.
        kept: See `measuring.Work`.
    """

    backend: str
    form: str
    precision: str
    kept: bool


class Row(NamedTuple):
    """What `compare` has measured of a candidate.

    Attributes:
        seconds: Median of the rounds.
        peak: 10^9 operations a second of a matrix product in the same framework, precision and
            turns.
        memory: Peak in MiB; None if it was not measured.
        error: Relative difference of its second result from the first candidate's.
    """

    seconds: float
    peak: float
    memory: float | None
    error: float


Make = Callable[[Case, Candidate], Run]


def report(
    settings: Settings,
    cases: Iterable[tuple[Case, Sequence[Candidate]]],
    make: Make,
    training: bool = False,
) -> None:
    """Prints a table of each case; see `compare`."""
    measuring.begin(settings.device)
    note = f"Medians of {settings.rounds} turns."
    tables = measuring.Report(settings.results, settings.device, note)
    for case, candidates in cases:
        rows = compare(case, candidates, make, settings.rounds, settings.memory)
        tables.add(*table(case, rows, training))


def compare(
    case: Case, candidates: Sequence[Candidate], make: Make, rounds: int, memory: bool
) -> dict[Candidate, Row]:
    """Measures in turn the candidates whose framework is installed; compares with the first.

    Args:
        case: What is computed.
        candidates: Ways to compute it.
        make: Module-level function from case and candidate to what computes.
        rounds: See `measuring.in_turn`.
        memory: Whether to measure the peak memory.
    """
    works, peaks, errors = {}, {}, {}
    expected = None
    for candidate in candidates:
        if importlib.util.find_spec(candidate.backend) is None:
            continue
        if memory:
            peaks[candidate] = measuring.peak_memory(candidate.kept, make, case, candidate)
        run = make(case, candidate)
        run()
        found = run()
        expected = found if expected is None else expected
        errors[candidate] = measuring.relative_error(found, expected)
        works[candidate] = Work(run, candidate.kept)
    # Matrix products take their turns with the works.
    keys = {candidate: (candidate.backend, candidate.precision) for candidate in works}
    products = {key: Work(product(*key, case.device), kept=True) for key in keys.values()}
    taken = measuring.in_turn({**works, **products}, rounds)
    gflop = product_gflop(case.device)
    return {
        candidate: Row(
            median(taken[candidate]),
            gflop / min(taken[key]),
            peaks.get(candidate),
            errors[candidate],
        )
        for candidate, key in keys.items()
    }


def table(case: Case, rows: dict[Candidate, Row], training: bool = False) -> list[str]:
    """Returns the lines of a table of `compare`; a step of training costs three times as much."""
    # Forward, and the gradients of inputs and of kernels.
    gflop = case.gflop * (3 if training else 1)
    usual = next(iter(rows.values())).seconds
    # Of the framework that multiplies fastest: PyTorch is slow on some processors.
    peaks: dict[str, float] = {}
    for candidate, row in rows.items():
        peaks[candidate.precision] = max(peaks.get(candidate.precision, 0.0), row.peak)
    lines = [
        [
            candidate.backend,
            candidate.form,
            candidate.precision,
            measuring.number(1000 * row.seconds / (1 if training else case.batch)),
            measuring.number(case.batch / row.seconds),
            f"{usual / row.seconds:.2f}",
            f"{gflop / row.seconds / peaks[candidate.precision]:.0%}",
            "" if row.memory is None else f"{row.memory:.0f}",
            f"{row.error:.0e}" if row.error else "0",
        ]
        for candidate, row in rows.items()
    ]
    columns = ["framework", "form", "precision", "ms a step" if training else "ms a clip"]
    columns += ["clips a second", "times the plain loop" if training else "times the usual port"]
    columns += ["of the peak", "MiB", "difference"]
    clips = f"{case.batch} clip{'s' if case.batch > 1 else ''}"
    size = f"{case.frames}x{case.size}x{case.size}"
    cost = f"{gflop:.0f} GFLOP{' a step' if training else ''}"
    title = f"`{case.architecture}`, {clips} of {size}, {cost}:"
    return [title, "", *measuring.table(columns, lines, texts=3)]


def torch_device(device: str) -> Any:
    """Returns PyTorch's device for "cpu" or "gpu"."""
    import torch

    return torch.device("cuda" if device == "gpu" else "cpu")


def product_gflop(device: str) -> float:
    return 2e-9 * float(_SIDES[device]) ** 3


def product(backend: str, precision: str, device: str) -> Run:
    """Returns a product of large square matrices, of `product_gflop` operations."""
    side = _SIDES[device]
    # Reading one number waits for the product without copying all of it from a GPU.
    if backend == "tensorflow":
        import i3d_tf  # noqa: F401  # before TensorFlow, see there

        # isort: split
        import tensorflow as tf

        with tf.device(f"/{device.upper()}:0"):
            x = tf.cast(tf.random.uniform([side, side]), precision)
        return lambda: tf.matmul(x, x)[0, 0].numpy()
    import torch

    a = torch.rand(side, side, device=torch_device(device)).to(getattr(torch, precision))
    if device == "gpu" or precision != "float32":
        return lambda: (a @ a)[0, 0].item()
    # oneDNN, as for the convolutions: torch's own float32 product is MKL's, which reaches half of
    # the speed on processors that are not Intel's.
    by_onednn = torch.ops.mkldnn._linear_pointwise
    return lambda: by_onednn(a, a, None, "none", [], "")[0, 0].item()
