"""The console command: usage, dispatch, choice of backend, and what it refuses."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

from common import cli


@pytest.fixture
def dispatched(monkeypatch):
    """Catches what would be run: the module of the settings, that of `main`, the arguments."""
    seen = []

    def start(main, settings, argv):
        seen.append((settings, main("given"), argv[1:]))

    def module(name):
        return types.SimpleNamespace(Settings=name, main=lambda given: name, start=start)

    monkeypatch.setattr(cli.importlib, "import_module", module)
    monkeypatch.delenv("I3D_BACKEND", raising=False)
    return seen


def _ends(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments])
    return end.value.code


def test_help_lists_commands(capsys):
    assert (_ends("--help"), _ends(), _ends("prepare")) == (0, 2, 2)
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in cli.COMMANDS)
    assert _ends("features", "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: i3d features COMMAND ")
    assert [line.split()[:2] for line in lines if line[:2] == "  "] == [["features", "compare"]]


def test_an_unknown_command_is_named():
    expected = "i3d: no such command. Expected one of features compare. Received: 'features check'."
    assert _ends("features", "check") == expected


@pytest.mark.parametrize(
    ("arguments", "module", "settings", "rest"),
    [
        (["train", "--backend=torch"], "i3d_torch.train", "common.training.command", []),
        (
            ["multi_evaluate", "--x=a", "--backend", "tf"], "i3d_tf.multi_evaluate",
            "common.predict.multi_evaluate", ["--x=a"],
        ),
        (["prepare", "to_numpy", "--help"], "common.prepare.to_numpy", "", ["--help"]),
        (["features", "compare", "a", "b"], "common.features.compare", "", ["a", "b"]),
    ],
)  # fmt: skip
def test_a_command_runs_its_module(dispatched, arguments, module, settings, rest):
    cli.main(arguments)
    assert dispatched == [(settings or module, module, rest)]


@pytest.mark.parametrize(
    ("installed", "variable", "chosen"),
    [
        (("torch",), "", "i3d_torch"),
        (("tensorflow", "torch"), "", "i3d_tf"),
        (("tensorflow", "torch"), "torch", "i3d_torch"),
    ],
)
def test_the_backend_without_a_flag(dispatched, monkeypatch, installed, variable, chosen):
    monkeypatch.setenv("I3D_BACKEND", variable)
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: name in installed or None)
    cli.main(["evaluate"])
    assert dispatched[0][1] == f"{chosen}.evaluate"


def test_backends_that_are_not_there_are_said(monkeypatch, capsys, tmp_path):
    assert "must be one of tf, torch. Received: 'jax'." in _ends("evaluate", "--backend=jax")
    for name in [name for name in sys.modules if name.split(".")[0] == "i3d_torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert _ends("multi-evaluate", "--backend=torch", f"--output_dir={tmp_path}") == 1
    assert capsys.readouterr().err.startswith("error: i3d_torch needs PyTorch. In a checkout")
    monkeypatch.delenv("I3D_BACKEND", raising=False)
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert "no backend is installed" in _ends("evaluate")


def test_help_of_every_command_needs_no_framework():
    """All in one process, which may import none of what is heavy."""
    program = (
        "import contextlib, io, sys\n"
        "from common import cli\n"
        "for name in cli.COMMANDS:\n"
        "    out = io.StringIO()\n"
        "    try:\n"
        "        with contextlib.redirect_stdout(out): cli.main([*name.split(), '--help'])\n"
        "    except SystemExit as end: assert end.code == 0, name\n"
        "    assert 'usage: i3d ' + name in out.getvalue(), name\n"
        "print([name for name in ('tensorflow', 'torch', 'sonnet') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr
