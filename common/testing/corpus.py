"""Data sets, made up, in the layout of the real ones, and what has to come out of them."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from common.annotations import Action, Record, label_maps
from common.testing.films import SIZE, Film

SIDE = f"--short_side={min(SIZE)}"
AT_25 = (SIDE, "--fps=25")
AS_IT_IS = (SIDE, "--fps=0")


@dataclasses.dataclass(frozen=True)
class Case:
    """A data set: what it is made of, how it is prepared, and what has to come out.

    Attributes:
        lists: The official annotation files.
        films: The raw files.
        records: What is read in the end, in the order of the lists.
        shown: For each record the film, and the pictures of it that are its frames.
        dataset: Flags that say which it is.
        frames: Flags of extract_frames.
        flow: Flags of extract_flow.
        layouts: Of frames and of flow, as they must be found.
        folders: Folders of flow images.
        fps: Of the stamp.
        container: The format for other programs.
        workers: Flags; none takes worker processes, which take a second more.
        others: The records as the format for other programs has them, if it is not only their
            paths and numbers of frames that differ.
    """

    lists: dict[str, str]
    films: tuple[Film, ...]
    records: tuple[Record, ...]
    shown: tuple[tuple[int, list[int]], ...]
    dataset: tuple[str, ...]
    frames: tuple[str, ...] = AT_25
    flow: tuple[str, ...] = (SIDE,)
    layouts: tuple[str, str] = ("image", "image_xy")
    folders: int = 3
    fps: float | None = 25
    container: str = "kenshohara"
    workers: tuple[str, ...] = ("--workers=0",)
    others: tuple[Record, ...] = ()

    @property
    def other_records(self) -> tuple[Record, ...]:
        """The records as the format for other programs has them."""
        if self.container == "native" or self.others:
            return self.others or self.records
        if self.container == "kenshohara":  # knows folders of frames alone
            return tuple(
                Record(each.name, each.name, each.subset, each.labels, frames=each.frames)
                for each in self.records
            )
        return tuple(
            dataclasses.replace(each, path=Path(each.path).name, frames=None)
            for each in self.records
        )


def every(film: int, count: int) -> tuple[int, list[int]]:
    """All pictures of a film."""
    return film, list(range(count))


# Two clips of one video, and of another whose rate is 30 one for testing, with its label: at 25 a
# second each sixth picture is left out.
KINETICS_WHOLE = Case(
    dataset=("--dataset=kinetics", "--version=400"),
    lists={
        "train.csv": "label,youtube_id,time_start,time_end,split,is_cc\n"
        '"air drumming",--nQbRBEz2s,0,1,train,0\nabseiling,--nQbRBEz2s,1,2,train,0\n',
        "test.csv": "label,youtube_id,time_start,time_end,split,is_cc\n"
        "abseiling,0wR5jVB-WPk,0,1,test,0\n",
    },
    films=(
        Film("--nQbRBEz2s.mp4", 50, (1, -1)),
        Film("0wR5jVB-WPk.webm", 36, (-1, 1), fps=30),
        Film("unused_____.mp4", 12, (1, 0)),
    ),
    records=(
        Record(
            "air drumming/--nQbRBEz2s_000000_000001", "--nQbRBEz2s.mp4", "training", (1,),
            start=0.0, end=1.0, duration=1.0, frames=25,
        ),
        Record(
            "abseiling/--nQbRBEz2s_000001_000002", "--nQbRBEz2s.mp4", "training", (0,),
            start=1.0, end=2.0, duration=1.0, frames=25,
        ),
        Record(
            "abseiling/0wR5jVB-WPk_000000_000001", "0wR5jVB-WPk.webm", "testing", (0,),
            start=0.0, end=1.0, duration=1.0, frames=25,
        ),
    ),
    shown=(
        every(0, 25),
        (0, list(range(25, 50))),
        (1, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 24, 25, 26, 27,
             28]),
    ),
    flow=(SIDE, "--layout=uv_inside"),
    layouts=("image", "uv_inside"),
    folders=6,
)  # fmt: skip

UCF_CLASSES = label_maps.load(label_maps.UCF101)
UCF = Case(
    dataset=("--dataset=ucf101", "--fold=1"),
    lists={
        "classInd.txt": "".join(f"{n} {name}\r\n" for n, name in enumerate(UCF_CLASSES, 1)),
        "trainlist01.txt": "HammerThrow/v_HammerThrow_g08_c01.avi 36\r\n"
        "HandstandPushups/v_HandStandPushups_g09_c02.avi 37\r\n",
        "testlist01.txt": "YoYo/v_YoYo_g01_c01.avi\r\n",
    },
    films=(
        Film("UCF-101/HammerThrow/v_HammerThrow_g08_c01.avi", 14, (2, 1)),
        Film("UCF-101/HandstandPushups/v_HandStandPushups_g09_c02.avi", 15, (0, -2)),
        Film("UCF-101/YoYo/v_YoYo_g01_c01.avi", 16, (-1, 1)),
    ),
    records=(
        Record(
            "HammerThrow/v_HammerThrow_g08_c01", "UCF-101/HammerThrow/v_HammerThrow_g08_c01.avi",
            "training", (35,), frames=14,
        ),
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
    shown=(every(0, 14), every(1, 15), every(2, 16)),
    frames=(*AT_25, "--layout=img"),
    flow=(SIDE, "--layout=flow_xy"),
    layouts=("img", "flow_xy"),
    workers=(),
)  # fmt: skip

SOMETHING = Case(
    dataset=("--dataset=something_v1", "--order=file"),
    lists={
        "something-something-v1-labels.csv": "Holding something\n"
        "Something falling like a feather or paper\n"
        "Showing that something is empty, or isn't\n",
        "something-something-v1-train.csv": "100218;Something falling like a feather or paper\n",
        "something-something-v1-validation.csv": "74225;Showing that something is empty, or "
        "isn't\n",
        "something-something-v1-test.csv": "1\n",
    },
    films=(
        Film("20bn-something-something-v1/100218", 12, (1, -1)),
        Film("20bn-something-something-v1/74225", 13, (2, 1)),
        Film("20bn-something-something-v1/1", 14, (-2, 0)),
    ),
    records=(
        Record(
            "100218", "20bn-something-something-v1/100218", "training", (1,), fps=12.0, frames=12
        ),
        Record(
            "74225", "20bn-something-something-v1/74225", "validation", (2,), fps=12.0, frames=13
        ),
        Record("1", "20bn-something-something-v1/1", "testing", fps=12.0, frames=14),
    ),
    shown=(every(0, 12), every(1, 13), every(2, 14)),
    frames=(SIDE, "--layout=something_v1"),
    flow=(SIDE, "--layout=xy"),
    layouts=("something_v1", "xy"),
    container="native",  # no other says where its frames are
    folders=6,
    fps=12,  # as the annotation says
)

CHARADES_HEADER = (
    "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
)
CHARADES = Case(
    dataset=("--dataset=charades",),
    lists={
        "Charades_v1_train.csv": CHARADES_HEADER
        + '46GP8,HR43,Kitchen,6,7,Yes,"A person, cooking; ""well""",food;stove,"One, two",'
        "c092 0.10 0.30;c147 0.00 0.60,0.75\n"
        "N11GT,0KZ7,Stairs,6,7,No,Running,clothes,Runs,,0.50\n",
        "Charades_v1_test.csv": CHARADES_HEADER
        + "AKKWU,HR43,Kitchen,,7,Yes,A.,food,B.,c076 0.50 0.40;c076 0.40 30.00;c010 0 0.1,0.75\n",
        "Charades_v1_classes.txt": "".join(f"c{n:03d} Doing {n}/a, b\n" for n in range(157)),
    },
    films=(
        Film("Charades_v1_480/46GP8.mp4", 18, (1, 0), fps=24),
        Film("Charades_v1_480/N11GT.mp4", 12, (-1, -2), fps=24),
        Film("Charades_v1_480/AKKWU.mp4", 18, (2, 1), fps=24),
    ),
    records=(
        Record(
            "46GP8", "Charades_v1_480/46GP8.mp4", "training", (92, 147),
            actions=(Action(92, 0.1, 0.3), Action(147, 0.0, 0.6)), duration=0.75, frames=19,
        ),
        Record("N11GT", "Charades_v1_480/N11GT.mp4", "training", duration=0.5, frames=13),
        Record(
            "AKKWU", "Charades_v1_480/AKKWU.mp4", "testing", (10, 76),
            actions=(Action(76, 0.5, 0.4), Action(76, 0.4, 0.75), Action(10, 0.0, 0.1)),
            duration=0.75, frames=19,
        ),
    ),
    shown=(
        (0, [0, *range(18)]),  # at 24 a second the first is still there after 1/25 s
        (1, [0, *range(12)]),
        (2, [0, *range(18)]),
    ),
    frames=(*AT_25, "--layout=charades"),
    flow=(SIDE, "--layout=charades"),
    layouts=("charades", "charades"),
    container="piergiaj",
)  # fmt: skip


def _video_of_vidor(
    path: str,
    frames: int,
    relations: Iterable[tuple[int, str, int, int, int]],
    trajectories: Sequence[Mapping[int, tuple[int, int, int, int]]],
) -> str:
    return json.dumps(
        {
            "version": "VERSION 1.0", "video_id": Path(path).stem, "video_path": path,
            "frame_count": frames, "fps": 29.97, "width": SIZE[1], "height": SIZE[0],
            "subject/objects": [{"tid": 0, "category": "adult"}, {"tid": 3, "category": "dog"}],
            "relation_instances": [
                dict(zip(
                    ("subject_tid", "predicate", "object_tid", "begin_fid", "end_fid"), relation,
                    strict=True,
                ))
                for relation in relations
            ],
            "trajectories": [
                [
                    {"tid": tid, "bbox": dict(zip(("xmin", "ymin", "xmax", "ymax"), box,
                     strict=True)), "generated": 0, "tracker": "none"}
                    for tid, box in boxes.items()
                ]
                for boxes in trajectories
            ],
        }
    )  # fmt: skip


VIDOR = Case(
    dataset=("--dataset=vidor", "--labels=actions"),
    lists={
        "training/0000/2401075277.json": _video_of_vidor(
            "0000/2401075277.mp4",
            12,
            [(0, "throw", 3, 0, 2), (0, "watch", 3, 1, 9), (3, "chase", 0, 8, 99),
             (3, "in_front_of", 0, 0, 12)],
            [{0: (10, 0, 19, 47), 3: (60, 5, 63, 14)}, {0: (11, 0, 20, 47)}, *[{}] * 9,
             {3: (4, 4, 4, 4)}],
        ),
        "training/0001/17.json": _video_of_vidor("0001/17.mp4", 13, [], [{}] * 13),
        "validation/0000/9.json": _video_of_vidor(
            "0000/9.mp4", 14, [(0, "play(instrument)", 3, 1, 14)], [{}] * 14
        ),
    },
    films=(
        Film("video/0000/2401075277.mp4", 12, (1, 1), fps=Fraction(30000, 1001)),
        Film("video/0001/17.mp4", 13, (-2, 0), fps=Fraction(30000, 1001)),
        Film("video/0000/9.mp4", 14, (0, 1), fps=Fraction(30000, 1001)),
    ),
    records=(
        Record(
            "0000/2401075277", "video/0000/2401075277.mp4", "training", (0, 16, 26),
            actions=(Action(16, 0, 2, 0), Action(0, 1, 9, 0), Action(26, 8, 99, 3)),
            unit="frames", duration=12 / 29.97, fps=29.97, frames=12,
            boxes="training/0000/2401075277.json",
        ),
        Record(
            "0001/17", "video/0001/17.mp4", "training", unit="frames", duration=13 / 29.97,
            fps=29.97, frames=13, boxes="training/0001/17.json",
        ),
        Record(
            "0000/9", "video/0000/9.mp4", "validation", (41,), actions=(Action(41, 1, 14, 0),),
            unit="frames", duration=14 / 29.97, fps=29.97, frames=14,
            boxes="validation/0000/9.json",
        ),
    ),
    shown=(every(0, 12), every(1, 13), every(2, 14)),
    others=(
        Record(
            "0000/2401075277", "0000/2401075277.mp4", "training", (0, 16, 26),
            actions=(
                Action(16, 0.0, 0.066733), Action(0, 0.033366, 0.3003),
                Action(26, 0.266933, 3.303303),
            ),
            duration=12 / 29.97,
        ),
        Record("0001/17", "0001/17.mp4", "training", duration=13 / 29.97),
        Record(
            "0000/9", "0000/9.mp4", "validation", (41,),
            actions=(Action(41, 0.033366, 0.467133),), duration=14 / 29.97,
        ),
    ),
    frames=AS_IT_IS,
    flow=(*AS_IT_IS, "--layout=npy"),
    layouts=("image", "npy"),
    folders=0,
    fps=None,
    container="piergiaj",
)  # fmt: skip

CASES = {
    "ucf101": UCF,
    "something_v1": SOMETHING,
    "kinetics_whole": KINETICS_WHOLE,
    "charades": CHARADES,
    "vidor": VIDOR,
}
