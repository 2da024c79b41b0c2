"""Measures the speed of networks in inference, in every form they can be run in.

    python benchmarks/network.py [--rounds=5] [--results=FILE.json]
    python benchmarks/network.py --device=gpu --results=FILE.json
    python benchmarks/network.py --architectures=r2plus1d_18 --batches=1,4 --frames=16 --size=112

The usual port (see `benchmarks/forms.py`) and the candidates take turns in one process. Shares of
the machine's peak are those of a matrix product in the same framework and precision, measured in
the same turns. Peak memory is that of a process of its own for each. Logits are compared with the
usual port's.
"""

import itertools
from collections.abc import Sequence

import comparing
import forms
import measuring
import report
from absl import app, flags
from comparing import Candidate, Case

from common.arch import ARCHITECTURES
from common.training.recipes import PRECISIONS

NAMES = flags.DEFINE_list(
    "architectures",
    ["inception_i3d", "i3d_resnet50_8x8", "r2plus1d_34"],
    "All forms of the first; of the others what is usual, and what is fastest.",
)
BACKENDS = flags.DEFINE_list("backends", list(forms.BACKENDS), "Frameworks.")
PRECISION = flags.DEFINE_list("precisions", list(PRECISIONS), "float16 is for GPUs alone.")
BATCHES = flags.DEFINE_list("batches", None, "By default 1, on a GPU 1,8,32.")
FRAMES = flags.DEFINE_list("frames", None, "Of a clip; by default what the weights expect.")
SIZE = flags.DEFINE_integer("size", None, "Pixels; by default what the weights expect.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each.", lower_bound=1)
DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "Where to compute.")
MEMORY = flags.DEFINE_bool("memory", True, "Whether peaks of memory are measured as well.")
RESULTS = flags.DEFINE_string("results", None, "A file for the numbers, JSON.")

FEW = ("plain", "function", "optimised", "session")


def cases() -> list[tuple[Case, list[Candidate]]]:
    """What the flags ask for."""
    device = DEVICE.value
    batches = BATCHES.value or (["1"] if device == "cpu" else ["1", "8", "32"])
    found = []
    for name, batch in itertools.product(NAMES.value, map(int, batches)):
        chosen = FEW if name != NAMES.value[0] else [form for _, form in forms.FORMS]
        usual = comparing.usual(name, batch, device)
        for frames in map(int, FRAMES.value or [usual.frames]):
            case = usual._replace(frames=frames, size=SIZE.value or usual.size)
            asked = forms.candidates(device, BACKENDS.value, chosen, PRECISION.value)
            found.append((case, list(asked)))
    return found


def main(argv: Sequence[str]) -> int:
    del argv
    measuring.check_names(NAMES, ARCHITECTURES)
    measuring.check_names(BACKENDS, forms.BACKENDS)
    measuring.check_names(PRECISION, PRECISIONS)
    measuring.begin(DEVICE.value)
    result = {"machine": measuring.machine(DEVICE.value), "rounds": ROUNDS.value, "cases": []}
    print(report.machine(result))
    for case, candidates in cases():
        found = comparing.compare(case, candidates, forms.make, ROUNDS.value, MEMORY.value)
        result["cases"].append(found)
        print("\n".join(["", *report.case(found)]), flush=True)
        measuring.write(RESULTS.value, result)  # after each: what comes next may take long
    return int(comparing.failed(result["cases"]))


if __name__ == "__main__":
    app.run(main)
