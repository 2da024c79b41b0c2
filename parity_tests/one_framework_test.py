"""Everything works without the other framework, and `common` and `convert` without any.

An environment without a framework is simulated: importing it fails in the process under test.
`make test-alone BACKEND=torch` runs this file in a real one.
"""

import subprocess
import sys

import pytest

from parity_tests.conftest import NEEDS

PACKAGES = {
    "base": ["common", "convert"],
    "torch": ["common", "convert", "i3d_torch"],
    "tf": ["common", "convert", "i3d_tf"],
}
OTHERS = {
    "base": ["torch", "tensorflow", "sonnet", "keras", "jax"],
    "torch": ["tensorflow", "sonnet", "keras", "jax"],
    "tf": ["torch", "jax"],
}

# The flow engine in PyTorch is imported on demand.
IMPORT_ALL = """
import importlib, pkgutil
count = 0
for package in PACKAGES:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith(("_test", "conftest", "__main__", "flow.torch_engine")):
            if not module.name.startswith("common.testing"):
                importlib.import_module(module.name)
                count += 1
assert count > 100, count
"""

CONVERT_AND_RUN = """
import tempfile
from pathlib import Path
import numpy as np
from common import arch
from convert import hub
from parity_tests import randomise
net = arch.inception_i3d()
arrays = randomise.arrays(net)
with tempfile.TemporaryDirectory() as folder:
    paths = [Path(folder, name) for name in ("a.safetensors", "b.ckpt.index", "c.pt")]
    hub.write(hub.Weights(net, arrays), paths[0])
    for source, target in zip(paths, paths[1:]):
        hub.convert(source, target)
    read = hub.read(paths[-1])
assert read.arrays.keys() == arrays.keys()
assert all(np.array_equal(read.arrays[name], array) for name, array in arrays.items())
if BACKEND != "base":
    backend = importlib.import_module(f"parity_tests.on_{BACKEND}")
    thin = arch.narrow(net, 8)
    clips = randomise.clips((1, 9, 193, 193, 3))
    logits, _ = backend.inference(thin, randomise.arrays(thin), clips)
    assert logits.shape == (1, 400) and np.isfinite(logits).all()
"""

cases = pytest.mark.parametrize(
    "backend", ["base", *(pytest.param(name, marks=pytest.mark.slow) for name in NEEDS)]
)


def _run(backend, program):
    if backend != "base":
        pytest.importorskip(NEEDS[backend], reason=f"needs the extra {backend!r}")
    variables = f"BACKEND, PACKAGES = {backend!r}, {PACKAGES[backend]}\n"
    command = [sys.executable, "-c", variables + program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cases
def test_imports_conversion_and_inference_without_the_other_frameworks(backend):
    shown = f"import sys\nprint(*(name for name in {OTHERS[backend]} if name in sys.modules))\n"
    ban = f"sys.modules.update(dict.fromkeys({OTHERS[backend]}))\n"
    assert _run(backend, IMPORT_ALL + shown + ban + CONVERT_AND_RUN).strip() == ""


@pytest.mark.parametrize("backend", NEEDS)
def test_a_missing_framework_is_named_with_the_extra(backend):
    program = f"import sys; sys.modules[{NEEDS[backend]!r}] = None; import i3d_{backend}"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"pip install '.[{backend}]'" in done.stderr.splitlines()[-1]
