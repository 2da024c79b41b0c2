"""Compares ways to compute the same clips: time, share of the peak, memory and difference."""

import importlib.util
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import measuring
from absl import logging
from measuring import Run, Work

from common import arch
from common.preprocessing import contracts

_SIDES = {"cpu": 2048, "gpu": 8192}  # of the matrices whose product is taken as the peak


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


Make = Callable[[Case, Candidate], Run]


def usual(architecture: str, batch: int = 1, device: str = "cpu") -> Case:
    """Returns clips of the size that an architecture's weights expect."""
    contract = contracts.usual(architecture)
    return Case(architecture, batch, contract.frames, contract.crop, device)


def compare(
    case: Case, candidates: Sequence[Candidate], make: Make, rounds: int, memory: bool
) -> list[dict[str, Any]]:
    """Measures the candidates in turn.

    Args:
        case: What is computed.
        candidates: The others are compared with the first.
        make: Module-level function from case and candidate to what computes.
        rounds: See `measuring.in_turn`.
        memory: Whether to measure the peak memory.

    Returns:
        For each candidate its fields, and "missing", a few words on what it lacks or how it failed;
        or "seconds" of each round; "peak", 10^9 operations a second of a matrix product in the same
        framework, precision and turns; "memory" in MiB; and "error", the relative difference of its
        second result from the first candidate's.
    """
    rows: dict[Candidate, dict[str, Any]] = {}
    works: dict[Candidate, Work] = {}
    expected = None
    for candidate in candidates:
        row = rows[candidate] = dict(candidate._asdict())
        if reason := _missing(candidate, case.device):
            row["missing"] = reason
            continue
        try:
            if memory:
                row["memory"] = measuring.peak_memory(candidate.kept, make, case, candidate)
            run = make(case, candidate)
            run()
            found = run()
        except Exception as error:
            if expected is None:
                raise
            # The other candidates are still measured.
            row["missing"] = f"failed: {type(error).__name__}"
            if isinstance(error, ValueError):  # refused with a reason
                row["missing"] = str(error).partition(".")[0]
            else:
                logging.exception("%s failed", candidate)
            continue
        expected = found if expected is None else expected
        row["error"] = measuring.relative_error(found, expected)
        works[candidate] = Work(run, candidate.kept)
    _take_turns(rows, works, case.device, rounds)
    return list(rows.values())


def failed(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether a candidate failed."""
    return any(row.get("missing", "").startswith("failed") for row in rows)


def table(case: Case, rows: Sequence[dict[str, Any]], training: bool = False) -> list[str]:
    """Returns the lines of a table of `compare`; a step of training costs three times as much."""
    # Forward, and the gradients of inputs and of kernels.
    gflop = case.gflop * (3 if training else 1)
    usual = median(rows[0]["seconds"])
    # Of the framework that multiplies fastest: PyTorch is slow on some processors.
    peaks: dict[str, float] = {}
    for row in rows:
        peaks[row["precision"]] = max(peaks.get(row["precision"], 0.0), row.get("peak", 0.0))
    lines = []
    for row in rows:
        cells = [row["backend"], row["form"], row["precision"]]
        if "missing" in row:
            lines.append([*cells, row["missing"], *[""] * 5])
            continue
        seconds = median(row["seconds"])
        cells.append(measuring.number(1000 * seconds / (1 if training else case.batch)))
        cells += [measuring.number(case.batch / seconds), f"{usual / seconds:.2f}"]
        cells.append(f"{gflop / seconds / peaks[row['precision']]:.0%}")
        cells.append(f"{row['memory']:.0f}" if "memory" in row else "")
        cells.append(f"{row['error']:.0e}" if row["error"] else "0")
        lines.append(cells)
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


def _take_turns(
    rows: dict[Candidate, dict[str, Any]], works: dict[Candidate, Work], device: str, rounds: int
) -> None:
    """Adds "seconds" and "peak" to the rows; matrix products take their turns with the works."""
    peaks = {candidate: (candidate.backend, candidate.precision) for candidate in works}
    products = {key: _product(*key, device) for key in dict.fromkeys(peaks.values())}
    best = {key: Work(run, kept=True) for key, (run, _) in products.items()}
    taken = measuring.in_turn({**works, **best}, rounds)
    for candidate, key in peaks.items():
        rows[candidate]["seconds"] = taken[candidate]
        rows[candidate]["peak"] = products[key][1] / min(taken[key])


def _product(backend: str, precision: str, device: str) -> tuple[Run, float]:
    """Returns a product of large square matrices, and its 10^9 operations."""
    side = _SIDES[device]
    # Reading one number waits for the product without copying all of it from a GPU.
    if backend == "tensorflow":
        import i3d_tf  # noqa: F401  # before TensorFlow, see there

        # isort: split
        import tensorflow as tf

        with tf.device(f"/{device.upper()}:0"):
            x = tf.cast(tf.random.uniform([side, side]), precision)
        return lambda: tf.matmul(x, x)[0, 0].numpy(), 2e-9 * side**3
    import torch

    a = torch.rand(side, side, device=torch_device(device)).to(getattr(torch, precision))
    if device == "gpu":
        return lambda: (a @ a)[0, 0].item(), 2e-9 * side**3
    # oneDNN, as for the convolutions: torch's own float32 product is MKL's, which reaches half of
    # the speed on processors that are not Intel's.
    by_onednn = torch.ops.mkldnn._linear_pointwise
    return lambda: by_onednn(a, a, None, "none", [], "")[0, 0].item(), 2e-9 * side**3


def _missing(candidate: Candidate, device: str) -> str | None:
    if importlib.util.find_spec(candidate.backend) is None:
        return "not installed"
    if candidate.backend == "tensorflow" and device == "gpu":
        import i3d_tf  # noqa: F401  # before TensorFlow, see there

        # isort: split
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            return "TensorFlow sees no GPU"
    return None
