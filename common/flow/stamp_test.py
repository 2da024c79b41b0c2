import dataclasses
import json
from unittest import mock

import pytest

from common.flow import stamp
from common.flow.stamp import FlowStamp, check_same

ODD = "Goal_1_&_2_[x]_%05d_{id};-)"
TVL1 = {"tau": 0.25, "lambda_": 0.15, "scales": 5, "median": 5}
OURS = FlowStamp("numba", TVL1, fps=25, short_side=256)


@pytest.fixture
def warnings():
    with mock.patch("absl.logging.warning") as warning:
        yield lambda: [call.args[0] % call.args[1:] for call in warning.call_args_list]


@pytest.mark.parametrize(
    ("place", "file"),
    [(ODD, f"{ODD}/flow.json"), ("folder.npy", "folder.npy/flow.json"),
     ("a.b_flow.npy", "a.b_flow.json"), ("a.b_flow.npz", "a.b_flow.json")],
)  # fmt: skip
def test_a_stamp_comes_back(tmp_path, place, file):
    made = FlowStamp(
        "torch", {"taps": (1, 2), "name": "ß", "deep": {"b": None, "a": True}}, square_pixels=True,
        bound=15, last="drop", fps=30000 / 1001, short_side=240, form="npy", first_index=1,
    )  # fmt: skip
    if file.endswith("flow.json") and "/" in file:
        (tmp_path / place).mkdir()
    assert stamp.read(tmp_path / place) is None
    made.write(tmp_path / place)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / file]
    found = stamp.read(tmp_path / place)
    assert found == made
    assert found.parameters["taps"] == [1, 2]


def test_the_text_is_of_the_values_alone():
    turned = FlowStamp("numba", dict(reversed(TVL1.items())), fps=25.0, short_side=256, bound=20)
    assert turned == OURS
    assert turned.text() == OURS.text()
    assert json.loads(OURS.text()) == {
        "format_version": 1,
        "engine": "numba",
        "parameters": {"tau": 0.25, "lambda_": 0.15, "scales": 5, "median": 5},
        "bound": 20.0,
        "rounding": "half to even",
        "last": "repeat",
        "fps": 25.0,
        "short_side": 256,
        "square_pixels": None,
        "meaning": "flow[i] is from frame i to frame i + 1, in x and y",
        "form": "jpg",
        "first_index": 0,
        "quality": None,
    }
    assert OURS.text().endswith("}\n")


@pytest.mark.parametrize(
    ("change", "match"),
    [({"last": "loop"}, "last must be one of drop, repeat. Received: 'loop'"),
     ({"bound": 0}, "bound must be above 0"), ({"fps": float("nan")}, "fps must be above 0"),
     ({"parameters": {"tau": float("nan")}}, "JSON")],
)  # fmt: skip
def test_values_that_make_no_sense(change, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(OURS, **change)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format_version": 1}', '{"format_version": 1, "a": 2}', "\xff" * 3,
     OURS.text()[:-5], OURS.text().replace('version": 1', 'version": 2'), "[" * 100_000],
)  # fmt: skip
def test_other_files_are_no_stamps(tmp_path, text):
    (tmp_path / "flow.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"flow\.json: expected the stamp of stored flow"):
        stamp.read(tmp_path)


def test_alike_is_alike_however_it_is_stored(warnings):
    stored = dataclasses.replace(OURS, form="npy", first_index=1, quality=95)
    check_same({"a": OURS, "b": stored, "c": OURS})
    check_same({})
    assert stamp.kinds([OURS, stored, None, OURS, None]) == [OURS, None]
    assert warnings() == []


@pytest.mark.parametrize(
    ("change", "text"),
    [({"engine": "opencv"}, "engine is 'numba' in a, b, c and 1 more, 'opencv' in e."),
     ({"fps": None}, "fps is 25.0 in a, b, c and 1 more, None in e."),
     ({"parameters": {**TVL1, "tau": 0.2}}, "parameters.tau is 0.2 in e, 0.25 in a, b, c"),
     ({"parameters": {**TVL1, "x": 1}}, "parameters.x is 1 in e, not given in a, b, c")],
)  # fmt: skip
def test_what_differs_is_named(warnings, change, text):
    stamps = {**dict.fromkeys("abcd", OURS), "e": dataclasses.replace(OURS, **change)}
    with pytest.raises(ValueError, match=r"Make the flow again with one setting\.$") as error:
        check_same(stamps)
    assert f"not all made in the same way: {text}" in str(error.value)
    assert str(error.value).count(" in e") == 1  # and nothing else is said to differ
    assert warnings() == []
    with pytest.raises(ValueError, match=r"with one setting, or allow it \(--mixed\)\.$"):
        check_same(stamps, allowing="--mixed")
    check_same(stamps, allow_mixed=True)
    [warning] = warnings()
    assert text in warning
    assert stamp.kinds(stamps.values()) == [OURS, stamps["e"]]


def test_unknown_flow_is_not_mixed_with_ours_and_taken_alone_with_a_warning(warnings):
    with pytest.raises(ValueError, match=r"engine is 'numba' in a, unknown \(no stamp\) in x, y\."):
        check_same({"a": OURS, "x": None, "y": None})
    check_same(dict.fromkeys("vwxyz"))
    [warning] = warnings()
    assert "v, w, x and 2 more" in warning
