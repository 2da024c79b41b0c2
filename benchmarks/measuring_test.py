import comparing
import measuring
import pytest
from comparing import Case
from measuring import Work


def test_works_take_turns_after_an_uncounted_call():
    calls, modes = [], []
    works = {name: Work(lambda name=name: calls.append(name), name == "b") for name in "ab"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "allocate", modes.append)
        taken = measuring.in_turn(works, 3)
    assert calls == ["a", "a", "b", "b"] * 3
    assert modes == [False, True] * 3
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3}
    assert min(min(seconds) for seconds in taken.values()) > 0


def test_errors_are_relative_to_the_largest_value():
    assert measuring.relative_error([1.0, -4.0], [1.5, -5.0]) == pytest.approx(1 / 5)
    assert measuring.relative_error(2.5, 2.0) == pytest.approx(1 / 4)


def test_memory_of_another_process():
    few = measuring.peak_memory(False, _allocating, 0)
    many = measuring.peak_memory(False, _allocating, 64)
    assert 50 < many - few < 90


def _allocating(mib):
    return lambda: bytearray(b"x") * (mib * 2**20)


@pytest.mark.parametrize(
    ("case", "gflop"),
    [
        (Case("inception_i3d", 1, 64, 224), 222.3),  # as torch.utils.flop_counter counts
        (Case("inception_i3d", 2, 64, 224), 444.6),
        (comparing.usual("r2plus1d_34"), 300.8),
    ],
)
def test_a_multiply_add_is_two_operations(case, gflop):
    assert case.gflop == pytest.approx(gflop, abs=0.05)


def test_missing_and_failed_candidates_have_a_reason(monkeypatch):
    pytest.importorskip("torch")
    plain = comparing.Candidate("torch", "plain", "float32", False)
    other = plain._replace(backend="no_such_package")
    refused, broken = plain._replace(form="refused"), plain._replace(form="broken")
    monkeypatch.setattr(measuring, "allocate", lambda kept: None)
    monkeypatch.setattr(comparing, "_SIDES", {"cpu": 8})

    def make(case, candidate):
        if candidate == refused:
            raise ValueError("no such clips. Choose others.")
        if candidate == broken:
            raise RuntimeError
        return lambda: [1.0, 2.0]

    case = Case("inception_i3d", 1, 16, 224)
    found = comparing.compare(case, [plain, other, refused, broken], make, 2, memory=False)
    rows = found["candidates"]
    assert [row.get("missing") for row in rows] == [
        None,
        "not installed",
        "no such clips",
        "failed: RuntimeError",
    ]
    assert rows[0]["error"] == 0
    assert len(rows[0]["seconds"]) == 2
    assert rows[0]["peak"] > 0
    assert comparing.failed([found])
