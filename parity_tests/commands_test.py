"""The commands of both frameworks, as processes or called."""

import pytest

from common.testing import features_commands, training_commands


@pytest.mark.slow
def test_a_process_extracts_a_folder(package, tmp_path):
    features_commands.check_process(package.__name__, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("thin")
def test_a_run_and_its_evaluation(package, tmp_path):
    training_commands.check_run(package.__name__, tmp_path)
