"""Fixtures of the tests of weights, which the converter's tests have, too."""

from convert.conftest import thin as thin
