"""A small form of `make demo-train`: from rendered videos to an accuracy, in both frameworks."""

import json

import pytest

from common.demo import chain, motions
from common.demo.chain import Options
from common.evaluation import metrics, scores
from parity_tests import conftest

STEPS = 120
CHANCE = 1 / 8

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Videos, annotations and flow, by the commands that people use."""
    options = Options("", tmp_path_factory.mktemp("demo"), train=20, test=4, workers=2)
    motions.render(motions.Options(options.output, options.train, options.test))
    for module, *flags in chain.commands(options):
        if module in ("common.prepare.make_annotations", "common.prepare.extract_flow"):
            chain.command(module, flags)
    return options.output


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Torch waits for its own threads where others take the cores, as tests in parallel do."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Little more than half of the pixels that the demo takes."""
    monkeypatch.setitem(chain.SIZE, "crop", "48")


@pytest.mark.parametrize("name", conftest.NEEDS)
def test_flow_is_learned_from_random_weights(data, name):
    pytest.importorskip(conftest.NEEDS[name], reason=f"needs the extra {name!r}")
    options = Options(f"i3d_{name}", data, train=20, test=4, steps=STEPS, workers=1)
    trained = options.runs / "flow"
    (train,) = (each for each in chain.commands(options) if f"--output={trained}" in each)
    chain.command(train[0], train[1:])
    flags = [f"--annotations={data}/motions.json", f"--flow={data}/flow", "--protocol=clip"]
    weights = f"--checkpoint={trained}/model.safetensors"
    output = data / name
    chain.command(f"i3d_{name}.evaluate", [*flags, weights, "--streams=flow", f"--output={output}"])
    found = scores.read(output / "scores_flow.npz")
    accuracy = metrics.top_k(found.logits, found.labels, 1)
    assert len(found.names) == 32
    # Six standard deviations of guessing are 0.35.
    assert accuracy >= 0.6 > CHANCE + 0.35
    assert json.loads((output / "results.json").read_text())["top_1"] == accuracy
