"""The commands `train` and `evaluate`; the twin of `i3d_tf/train_test.py`."""

import pytest

pytest.importorskip("torch", reason="needs the extra 'torch'")

from common.testing import training_commands as commands
from convert.conftest import thin as thin
from i3d_torch import train


@pytest.mark.slow
def test_a_run_and_its_evaluation(tmp_path):
    commands.check_run("i3d_torch", tmp_path)


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("case", commands.WRONG)
def test_what_is_wrong_is_one_line(tmp_path, capsys, case):
    commands.check_wrong(train.main, tmp_path, case, capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("thin")
def test_a_loss_that_is_not_finite_keeps_the_last_snapshot(tmp_path, capsys):
    commands.check_divergence(train.main, tmp_path, capsys)
