"""Whole data sets, made up: from raw files and official lists to what a training reads.

Each step is one command; what comes out is compared with what was put in.
"""

import dataclasses

import numpy as np
import pytest

from common.annotations import Record, annotation_files, label_maps
from common.flow import stamp
from common.flow.encoding import BOUND
from common.testing import commands
from common.testing.films import SIZE, Film
from common.video import frame_files

SIDE = f"--short_side={min(SIZE)}"
SOMETHING = "20bn-something-something-v1"
UCF_CLASSES = label_maps.load(label_maps.UCF101)


@dataclasses.dataclass(frozen=True)
class Case:
    """A data set: what it is made of, how it is prepared, and what has to come out."""

    dataset: tuple[str, ...]  # flags that say which it is
    lists: dict[str, str]  # the official annotation files
    films: tuple[Film, ...]  # the raw files
    records: tuple[Record, ...]  # what is read in the end, in the order of the lists
    shown: tuple[tuple[int, list[int]], ...]  # of each record the film, and which pictures of it
    layouts: tuple[str, str]  # of frames and of flow
    fps: tuple[str, float] = ("--fps=25", 25)  # of extract_frames, and in the stamp of the flow
    flows: int = 1  # folders of flow of each clip


def _all(*counts):
    """Each record is the whole of its film."""
    return tuple((film, list(range(count))) for film, count in enumerate(counts))


CASES = {
    "ucf101": Case(
        dataset=("--dataset=ucf101", "--fold=1"),
        lists={
            "classInd.txt": "".join(f"{n} {name}\r\n" for n, name in enumerate(UCF_CLASSES, 1)),
            "trainlist01.txt": "HandstandPushups/v_HandStandPushups_g09_c02.avi 37\r\n",
            "testlist01.txt": "YoYo/v_YoYo_g01_c01.avi\r\n",
        },
        films=(
            Film("UCF-101/HandstandPushups/v_HandStandPushups_g09_c02.avi", 15, (0, -2)),
            Film("UCF-101/YoYo/v_YoYo_g01_c01.avi", 16, (-1, 1)),
        ),
        records=(
            Record(
                "HandstandPushups/v_HandStandPushups_g09_c02",
                "UCF-101/HandstandPushups/v_HandStandPushups_g09_c02.avi",
                "training", (36,), frames=15,
            ),
            Record(
                "YoYo/v_YoYo_g01_c01", "UCF-101/YoYo/v_YoYo_g01_c01.avi",
                "validation", (100,), frames=16,
            ),
        ),
        shown=_all(15, 16),
        layouts=("img", "flow_xy"),
    ),
    "something_v1": Case(
        dataset=("--dataset=something_v1", "--order=file"),
        lists={
            "something-something-v1-labels.csv": "Holding something\nSomething isn't, or is\n",
            "something-something-v1-train.csv": "100218;Something isn't, or is\n",
            "something-something-v1-validation.csv": "74225;Holding something\n",
            "something-something-v1-test.csv": "1\n",
        },
        films=(
            Film(f"{SOMETHING}/100218", 12, (1, -1)), Film(f"{SOMETHING}/74225", 13, (2, 1)),
            Film(f"{SOMETHING}/1", 14, (-2, 0)),
        ),
        records=(
            Record("100218", f"{SOMETHING}/100218", "training", (1,), fps=12.0, frames=12),
            Record("74225", f"{SOMETHING}/74225", "validation", (0,), fps=12.0, frames=13),
            Record("1", f"{SOMETHING}/1", "testing", fps=12.0, frames=14),
        ),
        shown=_all(12, 13, 14),
        layouts=("something_v1", "xy"),
        fps=("--fps=0", 12),  # as the annotation says
        flows=2,
    ),
    # Two clips of one video, and of another whose rate is 30: each sixth picture is left out.
    "kinetics": Case(
        dataset=("--dataset=kinetics", "--version=400"),
        lists={
            "train.csv": "label,youtube_id,time_start,time_end,split,is_cc\n"
            '"air drumming",--nQbRBEz2s,0,1,train,0\nabseiling,--nQbRBEz2s,1,2,train,0\n',
            "test.csv": "label,youtube_id,time_start,time_end,split,is_cc\n"
            "abseiling,0wR5jVB-WPk,0,1,test,0\n",
        },
        films=(Film("--nQbRBEz2s.mp4", 50, (1, -1)), Film("0wR5jVB-WPk.webm", 36, (-1, 1), fps=30)),
        records=tuple(
            Record(
                f"{label}/{video.partition('.')[0]}_{start:06d}_{start + 1:06d}", video, subset,
                (number,), start=start, end=start + 1.0, duration=1.0, frames=25,
            )
            for label, number, video, start, subset in (
                ("air drumming", 1, "--nQbRBEz2s.mp4", 0, "training"),
                ("abseiling", 0, "--nQbRBEz2s.mp4", 1, "training"),
                ("abseiling", 0, "0wR5jVB-WPk.webm", 0, "testing"),
            )
        ),
        shown=(
            (0, list(range(25))),
            (0, list(range(25, 50))),
            (1, [k for k in range(29) if k % 6 != 5]),
        ),
        layouts=("image", "uv_inside"),
        flows=2,
    ),
}  # fmt: skip
FAST = ("ucf101", "something_v1")


def _command(folder, command, *arguments):
    """What a command that has to succeed says."""
    result = commands.run(f"common.prepare.{command}", *arguments)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    return result.stdout.replace(f"{folder}/", "").splitlines()


def _prepared(case, folder):
    """What each command says, by its output."""
    for name, text in case.lists.items():
        path = folder / "lists" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    for film in (*case.films, Film("unused.mp4", 9, (1, 0))):
        film.write(folder / "raw")
    lists = ("make_annotations", *case.dataset, f"--input={folder / 'lists'}")
    lists = (*lists, f"--videos={folder / 'raw'}")
    raw = (f"--input={folder / 'raw'}", f"--annotations={folder / 'found.json'}", "--workers=0")
    frames, flow = (f"--layout={layout}" for layout in case.layouts)
    fps = () if case.fps[0] == "--fps=0" else case.fps[:1]
    steps = {
        "found.json": lists,
        "report": ("check", *raw),
        "frames": ("extract_frames", *raw, SIDE, *fps, frames),
        "flow": ("extract_flow", *raw, SIDE, *fps, flow, "--flow_engine=numba"),
        "annotations.json": (*lists, f"--frames={folder / 'frames'}"),
    }
    said = {
        output: _command(folder, *words, f"--output={folder / output}")
        for output, words in steps.items()
    }
    for name in ("frames", "flow"):
        said[f"count {name}"] = _command(folder, "count_frames", f"--input={folder / name}")
    return said


def _pictures(clip, film):
    """Which pictures of the film the frames are."""
    frames = clip.read(range(len(clip))).astype(np.int16)
    distances = np.abs(frames[:, None] - film.pictures()).mean((2, 3, 4))  # [frame, picture]
    assert distances.min(1).max() < 5  # grey levels, of codecs; the next picture is 6 away or more
    return distances.argmin(1).tolist()


def _check_flow(clip, film, shown):
    """The flow is the film's motion, as often as frames step to another picture."""
    pixels = BOUND * clip.read(range(len(clip)))
    steps = np.diff(shown, append=2 * shown[-1] - shown[-2])  # the last is repeated
    for field, step in zip(pixels, steps, strict=True):
        np.testing.assert_allclose(
            np.median(field, (0, 1)), step * np.array(film.motion), atol=0.35
        )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CASES]
)
def test_from_raw_files_to_what_training_reads(tmp_path, name):
    case = CASES[name]
    said = _prepared(case, tmp_path)
    count, total = len(case.records), sum(record.frames for record in case.records)
    assert f"{count} of {count} clips have videos in raw" in said["found.json"]
    assert said["report"][0].startswith(f"{count} videos, {count} good; ")
    assert "1 videos that the annotations do not name:" in said["report"]
    for output, command, what in (
        ("frames", "extract_frames", "frames"), ("flow", "extract_flow", "flows"),
    ):  # fmt: skip
        assert said[output] == [f"{command}: {count} done, 0 skipped, 0 failed, {total} {what}"]
    for output, folders in (("frames", 1), ("flow", case.flows)):
        counted = f"{count * folders} folders, {total * folders} frames or flows"
        assert said[f"count {output}"] == [f"count_frames: {counted}, 0 n_frames written, 0 failed"]
    read = annotation_files.read(tmp_path / "annotations.json")
    assert read.records == case.records
    clips = []
    for record, (film, shown) in zip(read.records, case.shown, strict=True):
        frames = frame_files.open_rgb(tmp_path / "frames", record.name)
        assert _pictures(frames, case.films[film]) == shown
        flow = frame_files.open_flow(tmp_path / "flow", record.name)
        stamped = (flow.stamp.fps, flow.stamp.short_side, flow.stamp.bound)
        assert stamped == (case.fps[1], min(SIZE), BOUND)
        _check_flow(flow, case.films[film], shown)
        clips.append(flow)
    stamp.check_same({str(clip): clip.stamp for clip in clips})
