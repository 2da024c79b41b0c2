"""The console command `i3d COMMAND ...`: finds the module of a command and runs it.

i3d evaluate-sample --backend=torch --eval_type=rgb --imagenet_pretrained=false
i3d convert --input=rgb_scratch --output=rgb_scratch.pt
i3d prepare extract-flow --input=videos --output=flow
i3d features compare mine.npy theirs.npz
"""

import importlib
import importlib.util
import os
import sys
from typing import Any, NamedTuple

from common.io import listing


class Command(NamedTuple):
    """A command of `i3d`.

    Attributes:
        about: What it does, for `i3d --help`.
        module: Where its function `main` is; {backend} stands for i3d_tf or i3d_torch.
        settings: Where its class `Settings` is, which needs no framework; "" is `module`.
    """

    about: str
    module: str
    settings: str = ""


COMMANDS = {
    "evaluate-sample": Command(
        "classify a sample or a video",
        "{backend}.evaluate_sample",
        "common.predict.evaluate_sample",
    ),
    "multi-evaluate": Command(
        "all published evaluations of the sample",
        "{backend}.multi_evaluate",
        "common.predict.multi_evaluate",
    ),
    "train": Command("train or fine-tune a network", "{backend}.train", "common.training.settings"),
    "evaluate": Command(
        "accuracy on a data set, of one stream or two",
        "{backend}.evaluate",
        "common.evaluation.command",
    ),
    "fuse": Command("fuse the scores of streams evaluated before", "common.evaluation.fuse"),
    "convert": Command("convert a checkpoint to another format or dialect", "convert.__main__"),
    "inspect": Command("print the contents of a checkpoint", "convert.inspect"),
    "compare": Command("show in which arrays two checkpoints differ", "convert.compare"),
    "extract": Command(
        "features of videos, frame folders or tracklets",
        "{backend}.extract_features",
        "common.features.settings",
    ),
    "features compare": Command("compare two files of features", "common.features.compare"),
    "prepare check": Command("find videos that cannot be used", "common.prepare.check"),
    "prepare make-annotations": Command(
        "convert the lists of a data set to one format", "common.prepare.make_annotations"
    ),
    "prepare extract-frames": Command(
        "videos to folders of frames", "common.prepare.extract_frames"
    ),
    "prepare extract-flow": Command(
        "videos or frames to TV-L1 flow", "common.prepare.extract_flow"
    ),
    "prepare count-frames": Command("write the files n_frames", "common.prepare.count_frames"),
    "prepare to-numpy": Command("videos to the release's arrays", "common.prepare.to_numpy"),
    "prepare preview": Command("videos to GIFs and a contact sheet", "common.prepare.preview"),
}

# The value of --backend: the package, and what it needs. The first one installed is the default.
BACKENDS = {"tf": ("i3d_tf", "tensorflow"), "torch": ("i3d_torch", "torch")}
_ALIASES = {"tensorflow": "tf", "pytorch": "torch", "i3d_tf": "tf", "i3d_torch": "torch"}

_GROUPS = ("features", "prepare")
_HELP = ("-h", "--help", "help")


def usage(group: str = "") -> str:
    """The text of `i3d --help`, or of `i3d GROUP --help`."""
    start = f"{group} " if group else ""
    commands = {name: row.about for name, row in COMMANDS.items() if name.startswith(start)}
    width = max(map(len, commands))
    backend = "" if group else " [--backend=tf|torch]"
    lines = [f"usage: i3d {start}COMMAND{backend} [flags]", "", "commands:"]
    lines += [f"  {name:{width}}  {about}" for name, about in commands.items()]
    lines += ["", f"`i3d {start}COMMAND --help` lists the flags of a command."]
    if not group:
        lines += [
            "Without --backend the environment variable I3D_BACKEND chooses, else TensorFlow is",
            "used if it is installed, else PyTorch.",
        ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Runs the command that the arguments name."""
    arguments = sys.argv[1:] if argv is None else argv
    group = ""
    if arguments and arguments[0] in _GROUPS:
        group, arguments = arguments[0], arguments[1:]
    if not arguments or arguments[0] in _HELP:
        print(usage(group))
        sys.exit(0 if arguments else 2)
    first, *rest = arguments
    name = f"{group} {first.replace('_', '-')}".strip()
    if name not in COMMANDS:
        expected = [each for each in COMMANDS if each.startswith(group)]
        sys.exit(
            f"i3d: no such command. Expected one of {listing(expected, len(expected))}. "
            f"Received: {name!r}."
        )
    row = COMMANDS[name]
    module = row.module
    if "{backend}" in module:
        backend, rest = _backend(rest)
        module = module.format(backend=backend)
    settings = importlib.import_module(row.settings or module).Settings

    def run(given: Any) -> int | None:
        # Imported once the flags are right: a framework takes seconds.
        status: int | None = importlib.import_module(module).main(given)
        return status

    # absl takes a moment, which `i3d --help` does without.
    importlib.import_module("common.command").start(run, settings, argv=[f"i3d {name}", *rest])


def _backend(arguments: list[str]) -> tuple[str, list[str]]:
    """The package of --backend, and the other arguments."""
    chosen, rest, given = os.environ.get("I3D_BACKEND"), [], iter(arguments)
    for argument in given:
        flag, _, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and flag == "backend":
            chosen = value or next(given, "")
        else:
            rest.append(argument)
    if not chosen:
        installed = [
            name for name, (_, needs) in BACKENDS.items() if importlib.util.find_spec(needs)
        ]
        if not installed:
            sys.exit(
                "i3d: no backend is installed. In a checkout: pip install '.[torch]' or '.[tf]'."
            )
        chosen = installed[0]
    chosen = _ALIASES.get(chosen, chosen)
    if chosen not in BACKENDS:
        sys.exit(f"i3d: --backend must be one of {', '.join(BACKENDS)}. Received: {chosen!r}.")
    return BACKENDS[chosen][0], rest
