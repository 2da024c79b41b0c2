"""Commands in processes of their own that need not import a framework: they are forked.

To import TensorFlow takes seconds, to refuse a flag next to nothing. A server in a process of its
own imports the framework, and nothing of this project, and forks itself for each command; the child
becomes the command, as `python -m` makes it.
"""

import functools
import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen

ROOT = Path(__file__).parents[2]
NEEDS = {"i3d_tf": ("sonnet",), "i3d_torch": ("torch",)}


def environment() -> dict[str, str]:
    """Of commands; one thread computes, as others compute beside it."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(command: list[str], cwd: Path) -> CompletedProcess[str]:
    """As `subprocess.run` in this environment; `command` is [python, "-m", MODULE, ...].

    The module is one of a framework's package.
    """
    server = _server(command[2].partition(".")[0])
    assert server.stdin and server.stdout
    with tempfile.TemporaryDirectory() as folder:
        request = {"argv": command[2:], "cwd": str(cwd), "to": folder}
        print(json.dumps(request), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        out, err = ((Path(folder) / name).read_text() for name in ("out", "err"))
    return CompletedProcess(command, status, out, err)


@functools.cache
def _server(package: str) -> Popen[str]:
    """Ends when nobody can ask it any more: with the process that has started it."""
    command = [sys.executable, "-m", "common.testing.forking", *NEEDS[package]]
    return Popen(
        command, cwd=ROOT, env=environment(), text=True,
        stdin=PIPE, stdout=PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return _become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def _become(argv: list[str], cwd: str, to: str) -> None:
    """Returns, or raises `SystemExit`, into the end of this process."""
    for number, path in enumerate([os.devnull, f"{to}/out", f"{to}/err"]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(cwd)
    sys.path[0], sys.argv = cwd, argv
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for name in ("absl.app", *sys.argv[1:]):
        importlib.import_module(name)
    gc.freeze()  # a framework's objects stay: not even looking at them spares copies of pages
    _serve()
