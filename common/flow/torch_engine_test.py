"""What only the batched engine has; all engines are compared in `flow_test.py`."""

import shutil

import cv2
import numpy as np
import pytest

from common.flow import TVL1Params, opencv_engine

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from common.flow import torch_engine  # noqa: E402

SIZE = (96, 128)
QUICK = TVL1Params(scales=2, warps=1)


def texture(size, seed):
    """Smooth random grey, uint8."""
    smooth = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=size), (0, 0), 4)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def pairs(size=SIZE):
    """Pairs [6, H, W] that take differently long: no motion, some, and no picture alike."""
    first = [texture(size, seed) for seed in range(6)]
    second = [
        first[0],
        np.roll(first[1], (-2, 3), (0, 1)),
        texture(size, 100),
        np.roll(first[3], 1, 0),
        cv2.GaussianBlur(np.roll(first[4], (1, 1), (0, 1)), (3, 3), 0),
        np.full_like(first[5], 128),
    ]
    return np.stack(first), np.stack(second)


def check_near(found, expected, mean, high):
    distance = np.linalg.norm(found - expected, axis=-1)
    assert distance.mean() <= mean
    assert np.percentile(distance, 99) <= high


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_agrees_with_opencv_on_a_gpu():
    first, second = (each[[1, 3, 4]] for each in pairs())
    found = torch_engine.flow(first, second, TVL1Params(), device="cuda")
    for pair in range(3):
        expected = opencv_engine.flow(first[pair], second[pair], TVL1Params())
        check_near(found[pair], expected, 0.02, 0.15)


def test_a_batch_is_its_pairs():
    """Bit for bit, whether neighbours take shorter or longer; no motion is exactly no flow."""
    first, second = pairs(size=(61, 83))
    together = torch_engine.flow(first, second, QUICK)
    for pair in range(len(first)):
        alone = torch_engine.flow(first[pair : pair + 1], second[pair : pair + 1], QUICK)
        np.testing.assert_array_equal(together[pair], alone[0])
    assert np.abs(together[0]).max() == 0


@pytest.mark.parametrize(
    ("block", "params"),
    [(100, QUICK), (2, TVL1Params(scales=1, warps=1, inner_iterations=13, median=3))],
)  # fmt: skip
def test_blocks_change_nothing(monkeypatch, block, params):
    """In a block, pairs that have converged wait for the others: as if they had stopped."""
    first, second = pairs(size=(40, 50))
    expected = torch_engine.flow(first, second, params, device="cpu")
    monkeypatch.setattr(torch_engine, "_compiled", lambda function: function)
    monkeypatch.setattr(torch_engine, "_BLOCK", block)
    found = torch_engine.flow(first, second, params, device="cpu", compiled=True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="needs a C++ compiler")
def test_compiled_is_the_same_but_for_rounding(monkeypatch):
    monkeypatch.setattr(torch_engine, "_BLOCK", 2)  # ten take a compiler minutes
    first, second = (each[[1, 4]] for each in pairs())  # not sensitive to rounding
    found = torch_engine.flow(first, second, TVL1Params(), device="cpu", compiled=True)
    compiled = torch_engine._compiled(torch_engine._iterate)
    assert compiled.call is not torch_engine._iterate  # it did not fall back
    eager = torch_engine.flow(first, second, TVL1Params(), device="cpu")
    check_near(found, eager, 1e-3, 5e-3)


def test_without_a_compiler_it_is_slower_and_says_so_once(monkeypatch, caplog):
    from torch._dynamo.exc import TorchDynamoException

    def uncompilable(function, dynamic):
        def call(*values):
            raise TorchDynamoException("no compiler")

        return call

    monkeypatch.setattr(torch, "compile", uncompilable)
    functions = (torch_engine._iterate, torch_engine._median)
    compiled = {each: torch_engine._Compiled(each) for each in functions}
    monkeypatch.setattr(torch_engine, "_compiled", compiled.__getitem__)
    first, second = pairs(size=(40, 50))
    found = torch_engine.flow(first, second, QUICK, device="cpu", compiled=True)
    np.testing.assert_array_equal(found, torch_engine.flow(first, second, QUICK, device="cpu"))
    [said] = [text for text in caplog.messages if "no compiler" in text]
    assert "triton" in said
