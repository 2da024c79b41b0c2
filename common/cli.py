"""The console command `i3d COMMAND ...`: finds the module of a command and runs it.

i3d evaluate-sample --backend=torch --eval_type=rgb --imagenet_pretrained=false
i3d prepare extract-flow --input=videos --output=flow
"""

import importlib.util
import os
import sys
from typing import Any, NamedTuple


class Row(NamedTuple):
    about: str
    module: str  # where its class `Settings` is, which needs no framework, and its function `main`
    twin: str = ""  # the module of a backend where `main` is, if it is not in `module`


COMMANDS = {
    "evaluate-sample": Row(
        "classify a sample or a video", "common.predict.evaluate_sample", "evaluate_sample"
    ),
    "multi-evaluate": Row(
        "all published evaluations of the sample", "common.predict.multi_evaluate", "multi_evaluate"
    ),
    "train": Row("train or fine-tune a network", "common.training.command", "train"),
    "evaluate": Row(
        "accuracy on a data set, of one stream or two", "common.evaluation.command", "evaluate"
    ),
    "fuse": Row("fuse the scores of streams evaluated before", "common.evaluation.fuse"),
    "convert": Row("convert a checkpoint to another format or dialect", "convert.__main__"),
    "inspect": Row("print the contents of a checkpoint", "convert.inspect"),
    "compare": Row("show in which arrays two checkpoints differ", "convert.compare"),
    "extract": Row(
        "features of videos or tracklets", "common.features.settings", "extract_features"
    ),
    "fvd": Row("Fréchet Video Distance of two sets of videos", "common.fvd.command", "fvd"),
    "fvd merge": Row("add up statistics of shards", "common.fvd.merge"),
    "features compare": Row("compare two files of features", "common.features.compare"),
    "prepare check": Row("find videos that cannot be used", "common.prepare.check"),
    "prepare make-annotations": Row(
        "convert the lists of a data set to one format", "common.prepare.make_annotations"
    ),
    "prepare extract-frames": Row("videos to folders of frames", "common.prepare.extract_frames"),
    "prepare extract-flow": Row("videos or frames to TV-L1 flow", "common.prepare.extract_flow"),
    "prepare count-frames": Row("write the files n_frames", "common.prepare.count_frames"),
    "prepare to-numpy": Row("videos to the release's arrays", "common.prepare.to_numpy"),
    "prepare preview": Row("videos to GIFs and a contact sheet", "common.prepare.preview"),
}

# The value of --backend: the package, and what it needs. The first one installed is the default.
BACKENDS = {"tf": ("i3d_tf", "tensorflow"), "torch": ("i3d_torch", "torch")}


def usage(group: str) -> str:
    """The text of `i3d --help`, or of `i3d GROUP --help`."""
    commands = {name: row.about for name, row in COMMANDS.items() if name.startswith(group)}
    width = max(map(len, commands))
    lines = "\n".join(f"  {name:{width}}  {about}" for name, about in commands.items())
    return (
        f"usage: i3d {group}COMMAND [--backend=tf|torch] [flags]\n\ncommands:\n{lines}\n\n"
        f"`i3d {group}COMMAND --help` lists the flags of a command. Without --backend the variable"
        "\nI3D_BACKEND chooses, else TensorFlow is used if it is installed, else PyTorch."
    )


def main(argv: list[str] | None = None) -> None:
    """Runs the command that the arguments name."""
    arguments = sys.argv[1:] if argv is None else argv
    group = ""
    if arguments[:1] in (["features"], ["prepare"]) or arguments[:2] == ["fvd", "merge"]:
        group, arguments = f"{arguments[0]} ", arguments[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(group))
        sys.exit(0 if arguments else 2)
    name, rest = group + arguments[0].replace("_", "-"), arguments[1:]
    if name not in COMMANDS:
        expected = ", ".join(each for each in COMMANDS if each.startswith(group))
        sys.exit(f"i3d: no such command. Expected one of {expected}. Received: {name!r}.")
    _, module, twin = COMMANDS[name]
    settings = importlib.import_module(module).Settings
    if twin:
        backend, rest = _backend(rest)
        module = f"{backend}.{twin}"

    def run(given: Any) -> Any:
        # Imported once the flags are right: a framework takes seconds.
        return importlib.import_module(module).main(given)

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
        installed = [key for key, (_, needs) in BACKENDS.items() if importlib.util.find_spec(needs)]
        if not installed:
            sys.exit("i3d: no backend is installed. In a checkout: pip install '.[torch]'.")
        chosen = installed[0]
    if chosen not in BACKENDS:
        sys.exit(f"i3d: --backend must be one of {', '.join(BACKENDS)}. Received: {chosen!r}.")
    return BACKENDS[chosen][0], rest
