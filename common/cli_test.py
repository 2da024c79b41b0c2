"""The console command: usage, dispatch, choice of backend, and what it refuses."""

import sys
import types
from pathlib import Path

import pytest

from common import cli, command

ROOT = Path(__file__).parents[1]


@pytest.fixture
def dispatched(monkeypatch):
    """Catches what would be run: module name and arguments."""
    seen = []
    monkeypatch.setattr(
        cli.importlib, "import_module", lambda name: types.SimpleNamespace(name=name, main=None)
    )
    monkeypatch.setattr(
        command, "run", lambda main, argv, module: seen.append((module.name, argv[1:]))
    )
    return seen


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in cli.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["prepare"], ["features"]])
def test_without_a_command_the_status_is_an_error(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: i3d" in capsys.readouterr().out


@pytest.mark.parametrize("asked", ["--help", "-h", "help"])
@pytest.mark.parametrize(("group", "count"), [("prepare", 7), ("features", 1)])
def test_help_of_a_group_lists_its_commands_alone(capsys, asked, group, count):
    with pytest.raises(SystemExit) as end:
        cli.main([group, asked])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"usage: i3d {group} COMMAND [flags]"
    listed = [" ".join(line.split()[:2]) for line in lines if line.startswith("  ")]
    assert listed == [name for name in cli.COMMANDS if name.startswith(f"{group} ")]
    assert len(listed) == count


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["learn"], r"Expected one of compare, convert, .*, train\. Received: 'learn'"),
        (["--limit=1"], "Received: '--limit=1'"),
        (["prepare_check"], "Received: 'prepare-check'"),
        (["prepare", "train"], "Expected one of prepare check, .*Received: 'prepare train'"),
        (["prepare", "prepare"], "Received: 'prepare prepare'"),
        (["prepare", "convert"], "Received: 'prepare convert'"),
        (["features", "check"], "Expected one of features compare. Received: 'features check'"),
    ],
)
def test_an_unknown_command_is_named(arguments, text):
    with pytest.raises(SystemExit, match=rf"^i3d: no such command\. .*{text}\.$"):
        cli.main(arguments)


def test_every_command_has_a_module():
    for _, module in cli.COMMANDS.values():
        for package, _ in cli.BACKENDS.values():
            path = module.format(backend=package).replace(".", "/")
            assert (ROOT / f"{path}.py").is_file()


@pytest.mark.parametrize(
    ("arguments", "module", "rest"),
    [
        (["convert", "--input=a"], "convert.__main__", ["--input=a"]),
        (["inspect", "a.pt"], "convert.inspect", ["a.pt"]),
        (["evaluate-sample", "--backend=tf"], "i3d_tf.evaluate_sample", []),
        (["multi_evaluate", "--x=a", "--backend", "torch"], "i3d_torch.multi_evaluate", ["--x=a"]),
        (["prepare", "to_numpy", "--help"], "common.prepare.to_numpy", ["--help"]),
        (["prepare", "count-frames"], "common.prepare.count_frames", []),
        (["features", "compare", "a", "b"], "common.features.compare", ["a", "b"]),
        (["compare", "a", "b"], "convert.compare", ["a", "b"]),
    ],
)  # fmt: skip
def test_a_command_runs_its_module(dispatched, arguments, module, rest):
    cli.main(arguments)
    assert dispatched == [(module, rest)]


@pytest.mark.parametrize(
    ("installed", "chosen"), [("torch", "i3d_torch"), ("tensorflow", "i3d_tf")]
)
def test_without_a_choice_an_installed_backend_is_taken(dispatched, monkeypatch, installed, chosen):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: name == installed or None)
    cli.main(["evaluate-sample"])
    assert dispatched == [(f"{chosen}.evaluate_sample", [])]


def test_no_backend_at_all_is_said(monkeypatch):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="no backend is installed"):
        cli.main(["evaluate-sample"])


def test_an_unknown_backend_is_named():
    with pytest.raises(SystemExit, match=r"--backend must be one of tf, torch. Received: 'jax'"):
        cli.main(["evaluate-sample", "--backend=jax"])


def test_a_missing_framework_is_one_line(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "i3d_torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match=r"i3d: i3d_torch needs PyTorch\. In a checkout"):
        cli.main(["evaluate-sample", "--backend=torch"])
