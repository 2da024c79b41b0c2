"""Arrays that are made when they are asked for, and only then."""

import numpy as np
import pytest

from convert.arrays import LazyArrays, renamed, shapes


@pytest.fixture
def made():
    return []


@pytest.fixture
def lazy(made):
    arrays = LazyArrays()
    for name, size in (("b", 2), ("a", 3)):

        def make(name=name, size=size):
            made.append(name)
            return np.arange(size, dtype=np.float32)

        arrays.add(name, (size,), make)
    return arrays


def test_an_array_is_made_each_time_it_is_asked_for(lazy, made):
    np.testing.assert_array_equal(lazy["a"], [0, 1, 2])
    assert lazy["a"] is not lazy["a"]
    assert made == ["a"] * 3


def test_names_and_shapes_make_none(lazy, made):
    assert list(lazy) == ["b", "a"] and len(lazy) == 2
    assert "a" in lazy and "c" not in lazy
    assert shapes(lazy) == {"b": (2,), "a": (3,)}
    other = renamed(lazy, {"x": "a", "y": "b"})
    assert shapes(other) == {"x": (3,), "y": (2,)}
    assert made == []
    np.testing.assert_array_equal(other["y"], [0, 1])
    assert made == ["b"]


def test_a_name_that_is_not_there(lazy):
    with pytest.raises(KeyError):
        lazy["c"]
    assert lazy.get("c") is None


def test_shapes_of_arrays_that_are_there():
    assert shapes({"a": np.zeros((2, 3)), "b": np.array(1)}) == {"a": (2, 3), "b": ()}
