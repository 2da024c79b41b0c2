"""Whole data sets, made up: from raw files and official lists to what a training reads.

Each step is one command; what comes out is compared with what was put in.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from common.annotations import annotation_files
from common.annotations.datasets import vidor
from common.annotations.frame_labels import frame_labels
from common.flow import stamp
from common.flow.encoding import BOUND
from common.testing import commands
from common.testing.corpus import CASES, SIDE, Case
from common.testing.films import SIZE
from common.video import frame_files

FAST = ("ucf101", "something_v1")


def _command(folder, command, *arguments):
    result = commands.run(f"common.prepare.{command}", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr
    return result.stdout.replace(f"{folder}/", "").splitlines()


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set, and the folder with what was made of it."""

    case: Case
    folder: Path
    said: dict[str, list[str]]

    def expected(self, number):
        """The film of a record, and the numbers of its pictures that are the frames."""
        film, shown = self.case.shown[number]
        return self.case.films[film], shown


def _prepare(case, folder):
    for name, text in case.lists.items():
        path = folder / "lists" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    for film in case.films:
        film.write(folder / "raw")
    lists = ("make_annotations", *case.dataset, f"--input={folder / 'lists'}")
    lists = (*lists, f"--videos={folder / 'raw'}")
    raw = (f"--input={folder / 'raw'}", f"--annotations={folder / 'found.json'}", *case.workers)
    frames = f"--frames={folder / 'frames'}"
    steps = {
        "found.json": lists,
        "report": ("check", *raw),
        "frames": ("extract_frames", *raw, *case.frames),
        "flow": ("extract_flow", *raw, *case.flow, "--flow_engine=numba"),
        "native.json": (*lists, frames),
        "other.json": (*lists, frames, f"--format={case.container}"),
    }
    said = {
        output: _command(folder, *words, f"--output={folder / output}")
        for output, words in steps.items()
    }
    for name in ("frames", "flow") if case.folders else ("frames",):
        said[f"count {name}"] = _command(folder, "count_frames", f"--input={folder / name}")
    return Prepared(case, folder, said)


def _cases(names):
    slow = pytest.mark.slow
    return [pytest.param(name, marks=() if name in FAST else slow) for name in names]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A function from the name of a case to the data set, which is prepared once."""
    done = {}

    def prepared(name):
        if name not in done:
            done[name] = _prepare(CASES[name], tmp_path_factory.mktemp(name))
        return done[name]

    return prepared


@pytest.mark.parametrize("name", _cases(CASES))
def test_the_records_come_back(corpus, name):
    data = corpus(name)
    read = annotation_files.read(data.folder / "native.json")
    assert read.records == data.case.records
    assert read.dataset == data.case.dataset[0].removeprefix("--dataset=")
    assert annotation_files.read(data.folder / "other.json").records == data.case.other_records


@pytest.mark.parametrize("name", _cases(CASES))
def test_what_the_commands_say(corpus, name):
    data = corpus(name)
    said, total = data.said, sum(record.frames for record in data.case.records)
    assert "3 of 3 clips have videos in raw" in said["found.json"]
    assert said["report"][0].startswith("3 videos, 3 good; ")
    assert said["frames"] == [f"extract_frames: 3 done, 0 skipped, 0 failed, {total} frames"]
    assert said["flow"] == [f"extract_flow: 3 done, 0 skipped, 0 failed, {total} flows"]
    counted = "frames or flows, 0 n_frames written, 0 failed"
    assert said["count frames"] == [f"count_frames: 3 folders, {total} {counted}"]
    if folders := data.case.folders:
        images = total * folders // 3
        assert said["count flow"] == [f"count_frames: {folders} folders, {images} {counted}"]
    assert "3 of 3 clips have frames in frames" in said["native.json"]
    if name == "kinetics_whole":
        others = ["1 videos that the annotations do not name:", "  unused_____"]
        assert said["report"][-3:-1] == others


def test_frames_that_another_program_would_not_find(corpus):
    data = corpus("something_v1")
    flags = [*data.case.dataset, f"--input={data.folder / 'lists'}", "--format=kenshohara"]
    output = data.folder / "kenshohara.json"
    with pytest.raises(AssertionError, match="'Something falling like a feather or paper/100218'"):
        _command(data.folder, "make_annotations", *flags, f"--output={output}")
    assert not output.exists()


def _pictures(clip, film):
    """Which pictures of the film the frames are."""
    frames = clip.read(range(len(clip))).astype(np.int16)
    distances = np.abs(frames[:, None] - film.pictures()).mean((2, 3, 4))  # [frame, picture]
    assert distances.min(1).max() < 5  # grey levels, of codecs; the next picture is 6 away or more
    return distances.argmin(1).tolist()


@pytest.mark.parametrize("file", ["native.json", "other.json"])
@pytest.mark.parametrize("name", _cases(CASES))
def test_each_frame_is_the_right_picture(corpus, name, file):
    data = corpus(name)
    records = annotation_files.read(data.folder / file).records
    for number, record in enumerate(records):
        film, shown = data.expected(number)
        clip = frame_files.open_rgb(data.folder / "frames", record.name)
        assert (clip.layout.name, len(clip)) == (data.case.layouts[0], len(shown))
        if data.case.container != "piergiaj" or file == "native.json":
            assert record.frames == len(shown)
        assert _pictures(clip, film) == shown


def _check_flow(data, root, layout, fps):
    clips = [frame_files.open_flow(root, record.name) for record in data.case.records]
    stamp.check_same({clip.name: clip.stamp for clip in clips})
    for number, clip in enumerate(clips):
        film, shown = data.expected(number)
        assert (clip.layout.name, len(clip)) == (layout, len(shown))
        assert (clip.stamp.engine, clip.stamp.fps) == ("numba", fps)
        assert (clip.stamp.short_side, clip.stamp.bound) == (min(SIZE), BOUND)
        pixels = BOUND * clip.read(range(len(clip)))
        steps = np.diff(shown, append=2 * shown[-1] - shown[-2])  # the last is repeated
        expected = steps[:, None] * np.array(film.motion)
        np.testing.assert_allclose(pixels.mean((1, 2)), expected, atol=0.3)
        np.testing.assert_array_equal(pixels[-1], pixels[-2])


@pytest.mark.parametrize("name", _cases(CASES))
def test_the_flow_is_the_motion(corpus, name):
    data = corpus(name)
    _check_flow(data, data.folder / "flow", data.case.layouts[1], data.case.fps)


def test_the_flow_of_extracted_frames_is_the_same(corpus):
    data = corpus("ucf101")
    known = f"--annotations={data.folder / 'native.json'}"
    outputs = []
    for name, arguments in (("with_list", [known]), ("without", [])):
        said = _command(
            data.folder, "extract_flow", f"--input={data.folder / 'frames'}", *arguments, SIDE,
            "--flow_engine=numba", "--workers=0", f"--output={data.folder / name}",
        )  # fmt: skip
        assert said == ["extract_flow: 3 done, 0 skipped, 0 failed, 45 flows"]
        _check_flow(data, data.folder / name, "image_xy", 25)
        images = sorted((data.folder / name).rglob("*.jpg"))
        outputs.append([path.read_bytes() for path in images])
    assert outputs[0] == outputs[1]


def _on(labels):
    """Class to the frames it is on."""
    return {int(label): np.flatnonzero(labels[:, label]).tolist() for label in
            np.flatnonzero(labels.any(0))}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("file", ["native.json", "other.json"])
@pytest.mark.parametrize(
    ("name", "classes", "options", "expected"),
    [
        (
            "charades", 157, {"fps": 25, "rule": "strict"},
            [
                {92: [3, 4, 5, 6, 7], 147: list(range(1, 15))},
                {},
                {10: [1, 2], 76: [11, 12, 13, 14, 15, 16, 17, 18]},
            ],
        ),
        (
            "vidor", 42, {"fps": 29.97},
            [
                {0: [1, 2, 3, 4, 5, 6, 7, 8], 16: [0, 1], 26: [8, 9, 10, 11]},
                {},
                {41: list(range(1, 14))},
            ],
        ),
    ],
)  # fmt: skip
def test_frame_labels(corpus, file, name, classes, options, expected):
    data = corpus(name)
    records = annotation_files.read(data.folder / file).records
    for record, on, (_, shown) in zip(records, expected, data.case.shown, strict=True):
        labels = frame_labels(record, classes, frames=len(shown), **options)
        assert labels.shape == (len(shown), classes)
        assert _on(labels) == on


@pytest.mark.slow
def test_vidor_at_another_rate(corpus):
    """Spans are in frames of the video, 29.97 a second: 1 to 9 are about 0.5 to 4.5 of 15."""
    data = corpus("vidor")
    _command(
        data.folder, "extract_frames", f"--input={data.folder / 'raw'}", "--fps=15",
        f"--annotations={data.folder / 'native.json'}", f"--output={data.folder / 'at_15'}",
    )  # fmt: skip
    said = _command(
        data.folder, "make_annotations", *data.case.dataset, f"--input={data.folder / 'lists'}",
        f"--frames={data.folder / 'at_15'}", f"--output={data.folder / 'at_15.json'}",
    )  # fmt: skip
    assert any(line.startswith("3 clips have another number of frames than") for line in said)
    record, *_ = annotation_files.read(data.folder / "at_15.json").records
    assert (record.frames, record.fps) == (12, 29.97)  # the spans are in these
    clip = frame_files.open_rgb(data.folder / "at_15", record.name)
    assert _pictures(clip, data.case.films[0]) == [0, 1, 3, 5, 7, 9, 11]
    labels = frame_labels(record, 42, frames=len(clip), fps=15)
    assert _on(labels) == {0: [1, 2, 3, 4], 16: [0, 1], 26: [5, 6]}
    of_the_video = {0: [1, 2, 3, 4, 5, 6, 7, 8], 16: [0, 1], 26: [8, 9, 10, 11]}
    assert _on(frame_labels(record, 42)) == of_the_video
    with pytest.raises(ValueError, match="Pass fps"):
        frame_labels(record, 42, frames=len(clip))


@pytest.mark.slow
def test_boxes_of_vidor(corpus):
    data = corpus("vidor")
    record, *_ = annotation_files.read(data.folder / "native.json").records
    assert _on(frame_labels(record, 42, subject=3)) == {26: [8, 9, 10, 11]}
    path = data.folder / "lists" / record.boxes
    assert vidor.tracklets(path) == {
        0: {0: (10, 0, 20, 48), 1: (11, 0, 21, 48)},
        3: {0: (60, 5, 64, 15), 11: (4, 4, 5, 5)},
    }
