"""Compares ways to compute the same clips: in turn, with their peaks of memory and differences."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import measuring
from absl import logging
from measuring import Run, Work

from common import arch
from common.preprocessing import contracts

_SIDES = {"cpu": 2048, "gpu": 8192}  # of the matrices whose product is the peak


class Case(NamedTuple):
    """Clips for a network.

    Attributes:
        architecture: A name in `common.arch`.
        batch: Clips.
        frames: Of a clip.
        size: Height and width, pixels.
        device: "cpu" or "gpu".
    """

    architecture: str
    batch: int
    frames: int
    size: int
    device: str = "cpu"

    @property
    def gflop(self) -> float:
        """Operations of convolutions and attentions for the batch, 10^9; a multiply-add is two."""
        net = arch.make(self.architecture)
        return 2e-9 * self.batch * arch.multiply_adds(net, (self.frames, self.size, self.size))


class Candidate(NamedTuple):
    """A way to compute.

    Attributes:
        backend: The name of the package that does it.
        form: How.
        precision: One of `common.training.recipes.PRECISIONS`.
        kept: See `measuring.Work`.
    """

    backend: str
    form: str
    precision: str
    kept: bool


Make = Callable[[Case, Candidate], Run]


def usual(architecture: str, batch: int = 1, device: str = "cpu") -> Case:
    """Clips as the weights of an architecture expect them."""
    contract = contracts.usual(architecture)
    return Case(architecture, batch, contract.frames, contract.crop, device)


def compare(
    case: Case, candidates: Sequence[Candidate], make: Make, rounds: int, memory: bool
) -> dict[str, Any]:
    """The numbers of a case, as JSON has them.

    Beside the case, "gflop" of `Case`, and under "candidates", of each: "missing", a few words on
    what it lacks or how it failed; else "seconds" of each round, "peak", 10^9 operations a second
    of a matrix product in the same framework, precision and turns, "memory", MiB, and "error", the
    relative difference of its second result from the first candidate's.

    Args:
        case: What is computed.
        candidates: The first is what the others are compared with.
        make: A function of a module: from case and candidate to what computes.
        rounds: See `measuring.in_turn`.
        memory: Whether peaks of memory are measured, too.
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
        except ValueError as error:  # refused, in a sentence that says why
            row["missing"] = str(error).partition(".")[0]
            continue
        except Exception as error:  # one that fails does not take the others' numbers with it
            if expected is None:
                raise
            row["missing"] = f"failed: {type(error).__name__}"
            logging.exception("%s failed", candidate)
            continue
        expected = found if expected is None else expected
        row["error"] = measuring.relative_error(found, expected)
        works[candidate] = Work(run, candidate.kept)
    _take_turns(rows, works, case.device, rounds)
    return {**case._asdict(), "gflop": case.gflop, "candidates": list(rows.values())}


def failed(results: Sequence[dict[str, Any]]) -> bool:
    """Whether a candidate failed in any of the cases that `compare` returned."""
    rows = [row for result in results for row in result["candidates"]]
    return any(row.get("missing", "").startswith("failed") for row in rows)


def torch_device(device: str) -> Any:
    """What PyTorch calls "cpu" and "gpu"."""
    import torch

    return torch.device("cuda" if device == "gpu" else "cpu")


def _take_turns(
    rows: dict[Candidate, dict[str, Any]], works: dict[Candidate, Work], device: str, rounds: int
) -> None:
    """Measures, and in the same turns what is the machine's best; adds "seconds" and "peak"."""
    judges = {candidate: (candidate.backend, candidate.precision) for candidate in works}
    products = {judge: _product(*judge, device) for judge in dict.fromkeys(judges.values())}
    best = {judge: Work(run, kept=True) for judge, (run, _) in products.items()}
    taken = measuring.in_turn({**works, **best}, rounds)
    for candidate, judge in judges.items():
        rows[candidate]["seconds"] = taken[candidate]
        rows[candidate]["peak"] = products[judge][1] / min(taken[judge])


def _product(backend: str, precision: str, device: str) -> tuple[Run, float]:
    """A product of square matrices, and its 10^9 operations: what a machine does at its best."""
    side = _SIDES[device]
    # A number is waited for; the whole product would be copied from a GPU.
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
    # By oneDNN, as its convolutions are: in float32 torch's own product is MKL's, which leaves half
    # of the speed of processors of other makers.
    by_onednn = torch.ops.mkldnn._linear_pointwise
    return lambda: by_onednn(a, a, None, "none", [], "")[0, 0].item(), 2e-9 * side**3


def _missing(candidate: Candidate, device: str) -> str | None:
    """What a candidate lacks here."""
    backend = candidate.backend
    if importlib.util.find_spec(backend) is None:
        return "not installed"
    if backend == "tensorflow" and device == "gpu" and not _tensorflow_sees_a_gpu():
        return "TensorFlow sees no GPU"
    return None


def _tensorflow_sees_a_gpu() -> bool:
    import i3d_tf  # noqa: F401  # before TensorFlow, see there

    # isort: split
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
