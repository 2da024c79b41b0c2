"""Data sets with the spans of actions, made up: Charades and VidOR."""

import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from common.annotations import Action, Record
from common.testing.corpus import AS_IT_IS, AT_25, SIDE, Case, every
from common.testing.films import SIZE, Film

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
    others=(
        Record(
            "46GP8", "46GP8.mp4", "training", (92, 147),
            actions=(Action(92, 0.1, 0.3), Action(147, 0.0, 0.6)), duration=0.75,
        ),
        Record("N11GT", "N11GT.mp4", "training", duration=0.5),
        Record(
            "AKKWU", "AKKWU.mp4", "testing", (10, 76),
            actions=(Action(76, 0.5, 0.4), Action(76, 0.4, 0.75), Action(10, 0.0, 0.1)),
            duration=0.75,
        ),
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

CASES = {"charades": CHARADES, "vidor": VIDOR}
