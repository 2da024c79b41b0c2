"""The console command: `i3d COMMAND ...`, a thin way to the modules that do the work.

i3d evaluate-sample --backend=torch --eval_type=rgb --imagenet_pretrained=false
i3d convert --input=rgb_scratch --output=rgb_scratch.pt
i3d inspect rgb_scratch
i3d prepare extract-flow --input=videos --output=flow
i3d features compare mine.npy theirs.npz
"""

import importlib
import importlib.util
import sys

from common.io import listing

# Command: what it does, and its module; {backend} stands for i3d_tf or i3d_torch.
COMMANDS = {
    "evaluate-sample": ("classify a sample or a video", "{backend}.evaluate_sample"),
    "multi-evaluate": ("all published evaluations of the sample", "{backend}.multi_evaluate"),
    "train": ("train or fine-tune a network", "{backend}.train"),
    "evaluate": ("accuracy on a data set, of one stream or two", "{backend}.evaluate"),
    "fuse": ("fuse the scores of streams that were evaluated before", "common.evaluation.fuse"),
    "convert": ("move a checkpoint to another format or dialect", "convert.__main__"),
    "inspect": ("print what a checkpoint holds", "convert.inspect"),
    "compare": ("say in which arrays two checkpoints differ", "convert.compare"),
    "extract": (
        "features of videos, folders of frames or tracklets",
        "{backend}.extract_features",
    ),
    "features compare": ("say how far two files of features agree", "common.features.compare"),
    "prepare check": ("look for videos that cannot be used", "common.prepare.check"),
    "prepare make-annotations": (
        "data sets' lists to one format",
        "common.prepare.make_annotations",
    ),
    "prepare extract-frames": ("videos to folders of frames", "common.prepare.extract_frames"),
    "prepare extract-flow": ("videos or frames to TV-L1 flow", "common.prepare.extract_flow"),
    "prepare count-frames": ("write the files n_frames", "common.prepare.count_frames"),
    "prepare to-numpy": ("videos to the release's arrays", "common.prepare.to_numpy"),
    "prepare preview": ("videos to GIFs and a contact sheet", "common.prepare.preview"),
}

BACKENDS = {"tf": ("i3d_tf", "tensorflow"), "torch": ("i3d_torch", "torch")}

_GROUPS = ("features", "prepare")
_HELP = ("-h", "--help", "help")


def usage(group: str = "") -> str:
    """The text of `i3d --help`, or of `i3d GROUP --help`."""
    start = f"{group} " if group else ""
    commands = {name: about for name, (about, _) in COMMANDS.items() if name.startswith(start)}
    width = max(map(len, commands))
    backend = "" if group else " [--backend=tf|torch]"
    lines = [f"usage: i3d {start}COMMAND{backend} [flags]", "", "commands:"]
    lines += [f"  {name:{width}}  {about}" for name, about in commands.items()]
    lines += ["", f"`i3d {start}COMMAND --help` lists the flags of a command."]
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
    module_name = COMMANDS[name][1]
    if "{backend}" in module_name:
        backend, rest = _backend(rest)
        module_name = module_name.format(backend=backend)
    from common import command  # absl takes a moment, which `i3d --help` does without

    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        sys.exit(f"i3d: {error}")
    if hasattr(module, "Settings"):
        command.start(module.main, module.Settings, argv=[f"i3d {name}", *rest])
    command.run(module.main, argv=[f"i3d {name}", *rest], module=module)


def _backend(arguments: list[str]) -> tuple[str, list[str]]:
    """The package of --backend (by default one that is installed), and the other arguments."""
    chosen, rest, given = None, [], iter(arguments)
    for argument in given:
        flag, _, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and flag == "backend":
            chosen = value or next(given, "")
        else:
            rest.append(argument)
    if chosen is None:
        installed = [
            name for name, (_, needs) in BACKENDS.items() if importlib.util.find_spec(needs)
        ]
        if not installed:
            sys.exit(
                "i3d: no backend is installed. In a checkout: pip install '.[torch]' or '.[tf]'."
            )
        chosen = installed[0]
    if chosen not in BACKENDS:
        sys.exit(f"i3d: --backend must be one of {', '.join(BACKENDS)}. Received: {chosen!r}.")
    return BACKENDS[chosen][0], rest
