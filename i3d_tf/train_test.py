"""The commands `train` and `evaluate`; the twin of `i3d_torch/train_test.py`."""

import pytest

pytest.importorskip("tensorflow", reason="needs the extra 'tf'")

from common.testing import training_commands as commands

FIRST, *OTHERS = commands.WRONG


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    commands.put_wrong(folder)
    return folder


@pytest.mark.slow
def test_a_run_and_its_evaluation(tmp_path):
    commands.check_run("i3d_tf", tmp_path)


@pytest.mark.parametrize(
    "case", [FIRST, *(pytest.param(case, marks=pytest.mark.slow) for case in OTHERS)]
)
def test_what_is_wrong_is_one_line(wrong, case):
    commands.check_wrong("i3d_tf", wrong, case)


@pytest.mark.slow
def test_a_loss_that_is_no_number_keeps_the_last_snapshot(tmp_path):
    commands.check_divergence("i3d_tf", tmp_path)
