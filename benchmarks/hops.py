"""Counts the files of the project that a command enters after its imports.

    python benchmarks/hops.py i3d_torch.evaluate_sample --eval_type=rgb --checkpoint=rgb_scratch \
        --video=my.mp4

The fewer files a reader has to open to follow a command, the better. A file is entered when one of
its functions is called, in any thread.
"""

import importlib
import inspect
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from common import command

ROOT = Path(__file__).parents[1]
PACKAGES = ("common", "convert", "i3d_tf", "i3d_torch")


def entered(module_name: str, arguments: list[str]) -> tuple[int, list[str]]:
    """The exit status of a command and the files it entered, relative to the project."""
    module = importlib.import_module(module_name)
    files: set[str] = set()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        # Bodies of modules and classes are not calls.
        if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            files.add(frame.f_code.co_filename)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        status = command.call(module.main, module.Settings, arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    known = {str(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    return status, sorted(str(known[name].relative_to(ROOT)) for name in files if name in known)


def main() -> int:
    if len(sys.argv) < 2:
        sys.exit("usage: python benchmarks/hops.py MODULE [flags]")
    status, files = entered(sys.argv[1], sys.argv[2:])
    print("\n".join(files))
    folders = Counter(str(Path(name).parent) for name in files)
    print(f"{len(files)} files: " + ", ".join(f"{name} {n}" for name, n in folders.most_common()))
    return status


if __name__ == "__main__":
    sys.exit(main())
