import comparing
import measuring
import numpy as np
import pipeline
import pytest
from comparing import Candidate, Case, Row
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
    ours = np.ones(2**27)  # 1 GiB of this process is none of the other's
    few = measuring.peak_memory(False, _allocating, 0)
    many = measuring.peak_memory(False, _allocating, 256)
    assert few < ours.nbytes / 2**20
    # Pages of shared libraries count, or do not: some tens of MiB.
    assert 180 < many - few < 332


def _allocating(mib):
    return lambda: bytearray(b"x") * (mib * 2**20)


@pytest.mark.parametrize(
    ("case", "gflop"),
    [
        (Case("inception_i3d", 1, 64, 224), 222.3),  # as torch.utils.flop_counter counts
        (Case("inception_i3d", 2, 64, 224), 444.6),
        (Case("r2plus1d_34", 1, 32, 112), 300.8),
    ],
)
def test_a_multiply_add_is_two_operations(case, gflop):
    assert case.gflop == pytest.approx(gflop, abs=0.05)


def test_candidates_are_compared_with_the_first(monkeypatch):
    pytest.importorskip("torch")
    plain = Candidate("torch", "plain", "float32", False)
    other = plain._replace(form="other")
    monkeypatch.setattr(measuring, "allocate", lambda kept: None)
    monkeypatch.setattr(comparing, "_SIDES", {"cpu": 8})
    results = {plain: [1.0, 2.0], other: [1.0, 2.5]}
    missing = plain._replace(backend="no_such_package")
    case = Case("inception_i3d", 1, 16, 224)
    rows = comparing.compare(
        case, [plain, missing, other], lambda _, c: lambda: results[c], 2, memory=False
    )
    assert {candidate: row.error for candidate, row in rows.items()} == {plain: 0, other: 0.25}
    assert min(row.seconds for row in rows.values()) > 0 and rows[plain].peak > 0


def test_ratios_are_those_of_medians():
    plain = Candidate("torch", "plain", "float32", False)
    rows = {
        plain: Row(3.0, 300.0, 1234.5, 0.0),
        plain._replace(form="fast"): Row(1.25, 400.0, None, 3.2e-7),
    }
    case = Case("inception_i3d", 2, 64, 224)
    assert comparing.table(case, rows) == [
        "`inception_i3d`, 2 clips of 64x224x224, 445 GFLOP:",
        "",
        "| framework | form | precision | ms a clip | clips a second | times the usual port"
        " | of the peak | MiB | difference |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| torch | plain | float32 | 1500 | 0.67 | 1.00 | 37% | 1234 | 0 |",
        "| torch | fast | float32 | 625 | 1.60 | 2.40 | 89% |  | 3e-07 |",
    ]
    step = comparing.table(case, rows, training=True)
    assert step[0].endswith("1334 GFLOP a step:")
    assert "| torch | fast | float32 | 1250 | 1.60 | 2.40 |" in step[5]
    assert [measuring.number(n) for n in (0.456, 45.67, 1234.5)] == ["0.46", "45.7", "1234"]


def test_stages_are_added_up_within_a_round():
    usual = {"decode": [1.0, 2, 3], "flow": [9.0, 5, 4]}
    ours = {"decode": [1.0] * 3, "flow": [0.4] * 3}
    assert pipeline.table({"usual": usual, "ours": ours}, 10, ["0", "2e-03"]) == [
        "|  | usual | ours |",
        "| --- | ---: | ---: |",
        "| decode, s | 2.00 | 1.00 |",
        "| flow, s | 5.00 | 0.40 |",
        "| total, s | 7.00 | 1.40 |",
        "| times the usual way | 1.00 | 5.00 |",
        "| flow, pairs a second | 2.00 | 25.0 |",
        "| difference of the logits | 0 | 2e-03 |",
    ]


def test_a_report_is_printed_and_written(tmp_path, capsys):
    report = measuring.Report(tmp_path / "a.md", "cpu", "Once.")
    report.add("a", "b")
    text = (tmp_path / "a.md").read_text()
    assert text == capsys.readouterr().out
    assert text.endswith(". Once.\n\na\nb\n") and text.count("Python 3.") == 1
