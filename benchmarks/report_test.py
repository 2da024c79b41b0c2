from pathlib import Path

import measuring
import pytest
import report

MACHINE = {
    "date": "2026-01-02",
    "processor": "A Processor",
    "cores": 2,
    "system": "Linux",
    "python": "3.11.7",
    "packages": {"torch": "2.9"},
}


def candidate(form="plain", **numbers):
    return {"backend": "torch", "form": form, "precision": "float32", "kept": False, **numbers}


CASE = {
    "architecture": "inception_i3d",
    "batch": 2,
    "frames": 64,
    "size": 224,
    "device": "cpu",
    "gflop": 400.0,
    "candidates": [
        candidate(seconds=[3.0, 9.0, 2.0], peak=200.0, memory=1234.5, error=0.0),
        candidate("fast", seconds=[1.0, 1.25, 1.5], peak=400.0, error=3.2e-7),
        candidate("gone", missing="not installed"),
    ],
}


def test_ratios_are_those_of_medians():
    assert report.case(CASE) == [
        "`inception_i3d`, 2 clips of 64x224x224, 400 GFLOP:",
        "",
        "| framework | form | precision | ms a clip | clips a second | times the usual port"
        " | of the peak | MiB | difference |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| torch | plain | float32 | 1500 | 0.67 | 1.00 | 33% | 1234 | 0 |",
        "| torch | fast | float32 | 625 | 1.60 | 2.40 | 80% |  | 3e-07 |",
        "| torch | gone | float32 | not installed |  |  |  |  |  |",
    ]
    step = report.case(CASE, training=True)
    assert step[0].endswith("400 GFLOP a step:")
    assert "| torch | fast | float32 | 1250 | 1.60 | 2.40 |" in step[5]
    assert [report.number(n) for n in (0.456, 45.67, 1234.5)] == ["0.46", "45.7", "1234"]


def test_stages_are_added_up_within_a_round():
    video = {
        "name": "a video",
        "width": 340,
        "height": 256,
        "frames": 11,
        "ways": [
            {"name": "usual", "seconds": {"decode": [1.0, 2, 3], "flow": [9.0, 5, 4]}, "error": 0},
            {"name": "ours", "seconds": {"decode": [1.0] * 3, "flow": [0.4] * 3}, "error": 2e-3},
        ],
    }
    assert report.pipeline(video) == [
        "a video, 11 frames of 340x256:",
        "",
        "|  | usual | ours |",
        "| --- | ---: | ---: |",
        "| decode, s | 2.00 | 1.00 |",
        "| flow, s | 5.00 | 0.40 |",
        "| total, s | 7.00 | 1.40 |",
        "| times the usual way | 1.00 | 5.00 |",
        "| flow, pairs a second | 2.00 | 25.0 |",
        "| difference of the logits | 0 | 2e-03 |",
    ]


def test_pages_have_the_results_between_the_marks(tmp_path):
    assert report.tables(tmp_path).count("Not measured.") == 6
    result = {"machine": {**MACHINE, "gpu": "A GPU"}, "rounds": 3, "cases": [CASE]}
    measuring.write(tmp_path / "network-gpu.json", result)
    text = report.tables(tmp_path)
    assert text.count("Not measured.") == 5
    heading, machine = text.splitlines()[4:7:2]
    assert heading == "## Inference, on a GPU"
    assert machine == (
        "2026-01-02, A GPU, A Processor, 2 cores, Linux, Python 3.11.7, torch 2.9. Medians of 3"
        " turns."
    )
    assert "\n".join(report.case(CASE)) in text
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    found = report.page(text, tmp_path)
    assert found.startswith(f"before\n{report.BEGIN}\n## Inference, on a CPU\n\nNot measured.\n")
    assert found.endswith(f"{report.END}\nafter\n")
    assert "old" not in found
    assert report.page(found, tmp_path) == found
    with pytest.raises(ValueError, match="around its tables"):
        report.page("nothing", tmp_path)


def test_the_page_is_made_from_the_results():
    page = Path(__file__).parents[1] / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8")
    assert report.page(text) == text, "make performance"
