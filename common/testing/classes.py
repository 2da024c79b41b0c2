"""Data sets with one class a video, made up: Kinetics, UCF101, Something-Something."""

from common.annotations import Record, label_maps
from common.testing.corpus import AT_25, SIDE, Case, every, folder
from common.testing.films import Film

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
    others=(
        folder("air drumming/--nQbRBEz2s_000000_000001", "training", (1,), 25),
        folder("abseiling/--nQbRBEz2s_000001_000002", "training", (0,), 25),
        folder("abseiling/0wR5jVB-WPk_000000_000001", "testing", (0,), 25),
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
    others=(
        folder("HammerThrow/v_HammerThrow_g08_c01", "training", (35,), 14),
        folder("HandstandPushups/v_HandStandPushups_g09_c02", "training", (36,), 15),
        folder("YoYo/v_YoYo_g01_c01", "validation", (100,), 16),
    ),
    frames=(*AT_25, "--layout=img"),
    flow=(SIDE, "--layout=flow_xy"),
    layouts=("img", "flow_xy"),
    workers=(),
)  # fmt: skip

SOMETHING_RECORDS = (
    Record("100218", "20bn-something-something-v1/100218", "training", (1,), fps=12.0, frames=12),
    Record("74225", "20bn-something-something-v1/74225", "validation", (2,), fps=12.0, frames=13),
    Record("1", "20bn-something-something-v1/1", "testing", fps=12.0, frames=14),
)
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
    records=SOMETHING_RECORDS,
    shown=(every(0, 12), every(1, 13), every(2, 14)),
    others=SOMETHING_RECORDS,
    frames=(SIDE, "--layout=something_v1"),
    flow=(SIDE, "--layout=xy"),
    layouts=("something_v1", "xy"),
    container="native",  # no other says where its frames are
    folders=6,
    fps=12,  # as the annotation says
)

CASES = {
    "ucf101": UCF,
    "something_v1": SOMETHING,
    "kinetics_whole": KINETICS_WHOLE,
}
