"""Commands in this process: their status, and what they print."""

import contextlib
import importlib
import io
from subprocess import CompletedProcess

from common import command


def run(module: str, *flags: object) -> CompletedProcess[str]:
    """Calls the command of a module, "common.prepare.check", with flags."""
    out, err = io.StringIO(), io.StringIO()
    imported = importlib.import_module(module)
    words = [str(flag) for flag in flags]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command.call(imported.main, imported.Settings, words)
    return CompletedProcess([module, *words], status, out.getvalue(), err.getvalue())
