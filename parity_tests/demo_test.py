"""A small form of `make demo-train`: from rendered videos to an accuracy, in both frameworks."""

import json

import pytest

from common.demo import chain, motions
from common.demo.chain import Settings
from common.evaluation import metrics, scores
from parity_tests import conftest

STEPS = 120
CHANCE = 1 / 8

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Videos, annotations and flow, by the commands that people use."""
    folder = tmp_path_factory.mktemp("demo")
    settings = Settings(output=folder, train_scenes=20, test_scenes=4, workers=2)
    motions.render(folder, train=20, test=4)
    for module, *flags in chain.commands(settings):
        if module in ("common.prepare.make_annotations", "common.prepare.extract_flow"):
            chain.run_command(module, flags)
    return folder


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """PyTorch's threads wait for each other where parallel tests take the cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Little more than half of the demo's pixels."""
    monkeypatch.setitem(chain.SIZE, "crop", "48")


@pytest.mark.parametrize("name", conftest.NEEDS)
def test_flow_is_learned_from_random_weights(data, name):
    pytest.importorskip(conftest.NEEDS[name], reason=f"needs the extra {name!r}")
    settings = Settings(framework=f"i3d_{name}", output=data, steps=STEPS, workers=1)
    trained = settings.runs / "flow"
    (train,) = (each for each in chain.commands(settings) if f"--output={trained}" in each)
    chain.run_command(train[0], train[1:])
    flags = [f"--annotations={data}/motions.json", f"--flow={data}/flow", "--protocol=clip"]
    weights = f"--checkpoint={trained}/model.safetensors"
    output = data / name
    chain.run_command(
        f"i3d_{name}.evaluate", [*flags, weights, "--streams=flow", f"--output={output}"]
    )
    found = scores.read(output / "scores_flow.npz")
    accuracy = metrics.top_k(found.logits, found.labels, 1)
    assert len(found.names) == 32
    # Six standard deviations of guessing are 0.35.
    assert accuracy >= 0.6 > CHANCE + 0.35
    assert json.loads((output / "results.json").read_text())["top_1"] == accuracy
