"""What is no checkpoint."""

import pytest

from common.io import CheckpointError
from convert.formats import detect


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty"),
        (b"not found: nothing", r"no known .*tf1_checkpoint, .*starts with b'not found: no"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "a web page, not the file itself"),
        (b"\x1f\x8b\x08\x00nothing", "compressed with gzip"),
        (b"PK\3\4\x14\x00nothing much", "a ZIP archive, but not PyTorch's"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, text):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^{path}: .*{text}"):
        detect(path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.pt: no such file"):
        detect(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}: a folder without"):
        detect(tmp_path)
