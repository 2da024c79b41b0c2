"""A folder of everything that goes wrong with videos, and what has to be said of it."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np

ODD = "a b/été 日本 %05d [1] {name} (x) & 'y';!"
BYTES = os.fsdecode(b"caf\xe9")  # no UTF-8

# What each good video is at 25 frames a second: frames, width, height.
GOOD = {
    "plain": (20, 64, 48),
    "odd": (10, 33, 17),
    "tiny": (5, 3, 3),
    "one": (1, 64, 48),
    "rotated": (6, 32, 64),
    "variable": (9, 32, 24),
    "huge": (10, 64, 48),
    ODD: (5, 64, 48),
    BYTES: (5, 64, 48),
    "folder.mp4/inside": (5, 64, 48),
}

# By name, the suffix of each bad one, and what is said of it.
BAD = {
    "cut": ("mp4", "not a video"),  # its index is at the end
    "cut with index": ("mp4", "damaged at about"),
    "cut mkv": ("mkv", "cut short"),
    "cut avi": ("avi", "damaged at about"),
    "empty": ("mp4", "expected a video, got an empty file"),
    "text": ("mp4", "not a video"),
    "text\nof two lines": ("mp4", "not a video"),
    "sound": ("mp4", "no video stream, only audio"),
    "gap": ("mkv", "the frame at 0.04 s would be shown for 1.07374e+06 s"),
    "gone": ("mp4", "there is no such file"),
    "itself": ("mp4", "Too many levels of symbolic links"),
    "pipe": ("mp4", "empty file"),
}


def put(folder: Path) -> None:
    """Makes all of it."""
    video(folder / "plain.mp4", range(0, 800, 40))
    video(folder / "odd.mkv", range(0, 400, 40), "ffv1", (33, 17))
    video(folder / "tiny.webm", codec="libvpx-vp9", size=(3, 3))
    video(folder / "one.mp4", [0])
    video(folder / "rotated.mp4", range(0, 240, 40), size=(64, 32), turn=90)
    video(folder / "variable.mkv", [0, 40, 200, 300], "ffv1", (32, 24))
    video(folder / "huge.mkv", range(2**40, 2**40 + 400, 40))
    video(folder / f"{ODD}.mp4")
    video(folder / f"{BYTES}.mp4")
    video(folder / "folder.mp4/inside.mp4")
    (folder / "notes.txt").write_text("no video, and no name of one")
    (folder / "a b/loop").symlink_to(folder)
    second = range(0, 1000, 40)
    cut(video(folder / "cut.mp4", second, noise=True))
    cut(video(folder / "cut with index.mp4", second, noise=True, movflags="faststart"))
    cut(video(folder / "cut mkv.mkv", second, noise=True))
    cut(video(folder / "cut avi.avi", second, "mpeg4", noise=True))
    (folder / "empty.mp4").touch()
    for name in ("text", "text\nof two lines"):
        (folder / f"{name}.mp4").write_text("no video " * 100)
    _sound(folder / "sound.mp4")
    video(folder / "gap.mkv", [0, 40, 2**30, 2**30 + 40], "ffv1", (32, 24))
    (folder / "gone.mp4").symlink_to(folder / "not there")
    (folder / "itself.mp4").symlink_to(folder / "itself.mp4")
    os.mkfifo(folder / "pipe.mp4")


def video(
    path: Path,
    times: Iterable[int] = range(0, 200, 40),
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    turn: int = 0,
    noise: bool = False,
    **muxing: str,
) -> Path:
    """A video whose frames have these times in milliseconds, and one grey level each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    tick = Fraction(1, 25) if path.suffix == ".avi" else Fraction(1, 1000)
    with av.open(f"file:{path}", "w", options=muxing) as out:
        stream = cast(av.VideoStream, out.add_stream(codec, rate=25))
        stream.width, stream.height = size
        stream.pix_fmt = "gray" if codec == "ffv1" else "yuv420p"
        stream.codec_context.time_base = tick
        if turn:
            stream.set_display_rotation(turn)
        for k, time in enumerate(times):
            picture = np.full((size[1], size[0], 3), 10 * k % 250, np.uint8)
            if noise:  # large enough for half of the file to have some frames
                picture = rng.integers(0, 256, picture.shape, np.uint8)
            if turn:
                picture[: size[1] // 2, : size[0] // 2] = 255  # top left
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(time / 1000 / tick), tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def cut(path: Path) -> None:
    """Cuts off the last third of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def _sound(path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
