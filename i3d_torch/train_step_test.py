"""`TrainStep` against what both must do; the twin of `i3d_tf/train_step_test.py`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from common.preprocessing.contracts import InputContract
from common.testing import train_step as checks
from common.testing.losses import LossTests
from i3d_torch.predictor import frame_logits
from i3d_torch.train_step import TrainStep, loss_and_correct


def _gradient(loss, logits):
    x = torch.tensor(logits, requires_grad=True)
    loss(x).backward()
    return x.grad.numpy()


class TestLosses(LossTests):
    measure, frame_logits = staticmethod(loss_and_correct), staticmethod(frame_logits)
    tensor, gradient = staticmethod(torch.tensor), staticmethod(_gradient)


class TestTrainStep(checks.TrainStepTests):
    create = TrainStep


def test_memory_that_runs_out_is_explained():
    checks.check_memory(TrainStep, torch.OutOfMemoryError("no more"))


def test_scores_leave_gradients_enabled():
    checks.make_step(TrainStep).predictor.scores(checks.make_batch().clips)
    assert torch.is_grad_enabled()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["freeze", "sync"])
def test_two_replicas_are_one_of_twice_the_batch(mode, tmp_path):
    torch.multiprocessing.spawn(_run_replica, (mode, tmp_path), nprocs=2)
    states = [np.load(tmp_path / f"{rank}.npz") for rank in range(2)]
    checks.check_replicas(states, TrainStep, mode)


def _run_replica(rank, mode, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    recipe = replace(checks.RECIPE, **checks.REPLICATED, batch_norm=mode)
    own = TrainStep(checks.NET, checks.ARRAYS, recipe, InputContract(), dist.group.WORLD)
    steps = [
        own.step([checks.half(checks.make_batch(step, 8), rank)], checks.RATE).loss
        for step in range(20)
    ]
    np.savez(folder / f"{rank}.npz", losses=steps, **own.state())
    dist.destroy_process_group()
