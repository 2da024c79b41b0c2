"""Data sets with one class a video, made up: Kinetics, UCF101, HMDB51, Something-Something."""

from common.annotations import Record, label_maps
from common.testing.corpus import AT_25, SIDE, Case, every, folder
from common.testing.films import Film

FOOTBALL = "passing american football (not in game)"

KINETICS = Case(
    dataset=("--dataset=kinetics", "--version=600"),
    lists={
        "kinetics-600_train.csv": "label,youtube_id,time_start,time_end,split\n"
        "air drumming,-0wR5jVB_Wk,417,418,train\n",
        "kinetics-600_val.csv": "label,youtube_id,time_start,time_end,split\n"
        f"{FOOTBALL},yq_M1PMw2hY,23780,23781,val\n",
        "kinetics-600_test.csv": "youtube_id,time_start,time_end,split\nLAcSOxdNrmI,61,62,test\n",
    },
    films=(
        Film("air_drumming/-0wR5jVB_Wk_000417_000418.mp4", 14, (2, -1)),
        Film(f"{FOOTBALL}/yq_M1PMw2hY_023780_023781.mp4", 15, (-1, 0)),
        Film("test/LAcSOxdNrmI_000061_000062.mp4", 16, (1, 2)),
    ),
    records=(
        Record(
            "air drumming/-0wR5jVB_Wk_000417_000418",
            "air_drumming/-0wR5jVB_Wk_000417_000418.mp4",
            "training", (3,), duration=1.0, frames=14,
        ),
        Record(
            "passing american football (not in game)/yq_M1PMw2hY_023780_023781",
            "passing american football (not in game)/yq_M1PMw2hY_023780_023781.mp4",
            "validation", (309,), duration=1.0, frames=15,
        ),
        Record(
            "test/LAcSOxdNrmI_000061_000062", "test/LAcSOxdNrmI_000061_000062.mp4",
            "testing", duration=1.0, frames=16,
        ),
    ),
    shown=(every(0, 14), every(1, 15), every(2, 16)),
    others=(
        folder("air drumming/-0wR5jVB_Wk_000417_000418", "training", (3,), 14),
        folder(f"{FOOTBALL}/yq_M1PMw2hY_023780_023781", "validation", (309,), 15),
        folder("test/LAcSOxdNrmI_000061_000062", "testing", frames=16),
    ),
)  # fmt: skip

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

CARTWHEEL = "cartwheel/Geena_und_die_Radschl_ge___;-)_cartwheel_f_cm_np1_fr_med_2"
CATCH = "catch/Goalkeeper_Training_Day_#_2_(b)_catch_f_cm_np1_ba_bad_3"
KICK = "kick_ball/Goal_1_&_2__[_NEW_]_!!!_kick_ball_f_cm_np1_fr_goo_2"
HMDB_CLASSES = label_maps.load(label_maps.HMDB51)
HMDB = Case(
    dataset=("--dataset=hmdb51", "--fold=2"),
    lists={f"{name}_test_split2.txt": "Unused_0.avi 0 \n" for name in HMDB_CLASSES}
    | {
        f"{name.split('/')[0]}_test_split2.txt": f"{name.split('/')[1]}.avi {code} \n"
        for name, code in ((CARTWHEEL, 2), (CATCH, 1), (KICK, 1))
    },
    films=(
        Film(f"{CARTWHEEL}.avi", 12, (1, 1), fps=30, zoom=2),
        Film(f"{CATCH}.avi", 12, (-1, 0), fps=30, zoom=2),
        Film(f"{KICK}.avi", 18, (0, -1), fps=30, zoom=2),
    ),
    records=(
        Record(CARTWHEEL, f"{CARTWHEEL}.avi", "validation", (1,), frames=10),
        Record(CATCH, f"{CATCH}.avi", "training", (2,), frames=10),
        Record(KICK, f"{KICK}.avi", "training", (21,), frames=15),
    ),
    shown=(
        (0, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
        (1, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
        (2, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16]),
    ),
    others=(
        folder(CARTWHEEL, "validation", (1,), 10),
        folder(CATCH, "training", (2,), 10),
        folder(KICK, "training", (21,), 15),
    ),
    frames=(*AT_25, "--layout=frame"),
    flow=(SIDE, "--layout=uv"),
    layouts=("frame", "uv"),
    folders=6,
)

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
    "kinetics": KINETICS,
    "kinetics_whole": KINETICS_WHOLE,
    "hmdb51": HMDB,
}
