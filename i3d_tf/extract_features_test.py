"""The command `extract_features`; the twin of `i3d_torch/extract_features_test.py`."""

import pytest

pytest.importorskip("tensorflow", reason="needs the extra 'tf'")

from common.testing import features_commands


@pytest.mark.slow
def test_a_process_extracts_a_folder(tmp_path):
    features_commands.check_process("i3d_tf", tmp_path)
