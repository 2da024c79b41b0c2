"""What is imported where; `make test-alone` runs the tests without the other framework."""

import pkgutil
import subprocess
import sys

import pytest

import common
import convert

FRAMEWORKS = ["tensorflow", "sonnet", "keras", "torch", "jax"]
LACKS = {"torch": ["tensorflow", "sonnet", "keras"], "tf": ["torch"]}
NEEDS = {"torch": "torch", "tf": "sonnet"}


def _python(program):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def _modules():
    for package in (common, convert):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # The flow engine that is PyTorch is only imported when it is asked for.
            if not module.name.endswith(("_test", "__main__", "flow._torch")):
                yield module.name


def test_no_module_of_common_and_convert_imports_a_framework():
    names = list(_modules())
    assert {"common.arch.shapes", "common.video", "convert.hub", "convert.formats.torch_pt"} <= {
        *names
    }
    done = _python(
        f"import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        f"print([name for name in {FRAMEWORKS} if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("backend", LACKS)
def test_a_backend_does_not_import_the_other(backend):
    pytest.importorskip(NEEDS[backend], reason=f"needs the extra {backend!r}")
    done = _python(
        f"import sys, i3d_{backend}\n"
        f"print([name for name in {LACKS[backend]} if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("backend", LACKS)
def test_a_missing_framework_is_named_with_the_extra(backend):
    done = _python(f"import sys; sys.modules[{NEEDS[backend]!r}] = None; import i3d_{backend}")
    assert done.returncode == 1
    assert f"pip install '.[{backend}]'" in done.stderr.splitlines()[-1]
