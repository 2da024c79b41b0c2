"""The command of evaluation: from flags to results and a status."""

import shutil

import pytest
from absl import app, flags
from absl.testing import flagsaver

from common.evaluation import command
from common.testing.data import put
from common.testing.evaluations import NAMES, Maker, read_results, write_weights

pytestmark = pytest.mark.usefixtures("thin")


@pytest.fixture
def data(tmp_path):
    return put(tmp_path / "data")


@pytest.mark.parametrize("missing", [False, True])
def test_the_status_is_1_where_a_video_failed(data, tmp_path, missing, capsys):
    path, source = data
    if missing:
        shutil.rmtree(source.rgb / NAMES[1])
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(
        annotations=str(path), rgb=str(source.rgb), checkpoint=write_weights(tmp_path),
        output=str(tmp_path / "results"), workers=0,
    ):  # fmt: skip
        assert command.main(Maker(), "i3d_torch") == int(missing)
    results = read_results(tmp_path)
    assert results["coverage"]["failed"] == int(missing)
    assert list(results["failures"]) == ([NAMES[1]] if missing else [])
    # results.txt lists all classes, and there are few.
    assert capsys.readouterr().out == (tmp_path / "results/results.txt").read_text()


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"weights": ["1"]}, "--weights is for two streams"),
        ({"fusion": "softmax"}, "--fusion is for two streams"),
        ({"moments": 25}, "the task is classes: leave them out"),
        ({"flow_checkpoint": "a"}, "--flow_checkpoint is given, and flow is not among"),
    ],
)
def test_flags_that_nobody_would_read_are_refused(data, tmp_path, asked, text):
    path, source = data
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver():
        flags.FLAGS.annotations, flags.FLAGS.rgb = str(path), str(source.rgb)
        flags.FLAGS.checkpoint = write_weights(tmp_path)
        flags.FLAGS.output = str(tmp_path / "results")
        for name, value in asked.items():
            flags.FLAGS[name].value = value
            flags.FLAGS[name].present += 1
        with pytest.raises((app.UsageError, ValueError), match=text):
            command.main(Maker(), "i3d_torch")
    assert not (tmp_path / "results").exists()
