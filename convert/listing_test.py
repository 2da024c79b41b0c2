"""The lists that are made from the registries, and docs/models.md, which must agree with them."""

from pathlib import Path

import pytest

from common import arch
from convert import listing
from convert.dialects import DIALECTS
from convert.formats import FORMATS
from convert.hub import EXPORTS

MODELS = Path(__file__).parents[1] / "docs/models.md"


def test_the_table_is_up_to_date():
    text = MODELS.read_text(encoding="utf-8")
    assert listing.with_table(text) == text, "the table of architectures is stale: make models"


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        # torchvision publishes 40.5, VMZ 152 for its 32 frames.
        ("inception_i3d", ["12,689,984", "64, 224²", "111.2", "[-1, 1]"]),
        ("i3d_resnet50_8x8", ["28,043,472", "8 of every 8, 224²", "28.1"]),
        ("r2plus1d_34_vmz", ["63,697,175", "32, 112²", "152.4"]),
        ("r2plus1d_18", ["31,505,325", "16, 112²", "40.5"]),
    ],
)
def test_rows_have_the_published_numbers(name, cells):
    row = next(
        line for line in listing.architectures().splitlines() if line.startswith(f"| `{name}` ")
    )
    for cell in cells:
        assert f"| {cell} |" in row, row


def test_the_terminals_list_has_everything():
    text = listing.table()
    words = set(text.replace(",", " ").split())
    for registry in (FORMATS, EXPORTS, DIALECTS, arch.ARCHITECTURES):
        assert registry.keys() <= words
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert "read, write" in lines["safetensors"] and ".safetensors" in lines["safetensors"]
    assert "write" not in lines["mxnet_params"] and "write" not in lines["googlenet"]
    assert "read" not in lines["onnx"]
