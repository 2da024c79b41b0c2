"""What a terminal would obey is escaped, and nothing else."""

import sys

import pytest

from common.printable import printable


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "conv3d_1a_7x7/w",
            "a b",
            'it\'s "here"',
            "C:\\x1b",
            "Straße",
            "слой/вес",
            "卷积.权重",
        ),
        *("तल", "e\u0301", "½ ≤ ∞", "🙂"),
    ],
)
def test_text_of_people_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),  # the same order in one character
        ("a\rb\nc\td\0", "a\\rb\\nc\\td\\x00"),
        ("\x7f\b", "\\x7f\\x08"),
        ("x\u202egnp.exe", "x\\u202egnp.exe"),  # shown from right to left
        ("a\u200bb\ufeff\u2028", "a\\u200bb\\ufeff\\u2028"),
        ("\udcff", "\\udcff"),  # a byte of a file name that is not UTF-8
        ("\U000e0041é", "\\U000e0041é"),
    ],
)
def test_the_rest_is_escaped(text, shown):
    assert printable(text) == shown


def test_every_character():
    for number in range(sys.maxunicode + 1):
        shown = printable(chr(number))
        assert shown.isprintable() and (shown == chr(number) or shown.startswith("\\"))
