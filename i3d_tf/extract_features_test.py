"""The command `extract_features`; the twin of `i3d_torch/extract_features_test.py`."""

import pytest

pytest.importorskip("tensorflow", reason="needs the extra 'tf'")

from common.testing import features_commands as commands
from common.testing import torture as torture


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    commands.put(folder)
    return folder


@pytest.mark.slow
def test_a_folder_and_again(data, tmp_path):
    commands.check_run("i3d_tf", data, tmp_path)


@pytest.mark.slow
def test_other_ways(data, tmp_path):
    commands.check_others("i3d_tf", data, tmp_path)


def test_a_data_set(data, tmp_path):
    commands.check_annotations("i3d_tf", data, tmp_path)


@pytest.mark.parametrize("case", commands.WRONG)
def test_what_is_wrong_is_one_line(data, tmp_path, case):
    commands.check_wrong("i3d_tf", data, tmp_path / "out", case)


@pytest.mark.slow
def test_what_fails_does_so_alone(data, tmp_path):
    commands.check_failures("i3d_tf", data, tmp_path)


@pytest.mark.slow
def test_a_folder_of_everything_that_goes_wrong(data, tmp_path):
    torture.put(tmp_path / "videos")
    commands.check_torture("i3d_tf", data, tmp_path / "videos", tmp_path / "out")
