"""Renders a data set that only motion tells apart: eight directions in which a scene moves.

A scene is a textured ground with textured shapes on it, periodic in shifts of (4, 1) and (-1, 4)
right and down. As 4 * 4 + 1 * 1 = 17, there are 17 different pictures of it, and a motion in any of
the eight directions, one shift a frame, shows all 17 before the first one returns:

    right      0, 1, 2, ...          picture k is the scene moved k shifts to the right
    down       0, 13, 9, ...         a shift down is 13 to the right: (0, 1) = (-4, 0) + (4, 1)
    right_down 0, 14, 11, ...        and so on: a motion is what it adds to k, modulo 17

So any 17 successive frames are the same pictures in all classes: one frame, or frames in a random
order, reveal nothing. Nor does the scene, which is in all eight classes, nor the coding, as every
frame of a file is coded alone.

    OUTPUT/videos/right/v_right_g01_c01.avi     one for each motion and scene (the group, g)
    OUTPUT/lists/classInd.txt, trainlist01.txt, testlist01.txt     as those of UCF101
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.io import replacing, write_text
from common.jobs.parallel import Progress

PICTURES = 17  # different ones of a scene
FRAMES = 2 * PICTURES  # of a video, at 25 a second: each picture twice
HEIGHT, WIDTH, SHIFT = 64, 80, 3  # pixels of a picture, and of a shift

MOTIONS = {
    "right": 1, "left": -1, "down": -4, "up": 4,
    "right_down": -3, "left_up": 3, "right_up": 5, "left_down": -5,
}  # fmt: skip
"""What a class adds to the number of the picture each frame, modulo `PICTURES`; in label order."""

_QUALITY = {"flags": "qscale", "global_quality": "354"}  # 3 * FF_QP2LAMBDA; 31 would be the worst
_CONTRAST = 32  # standard deviation of a texture, levels

Field = NDArray[np.float64]
Picture = NDArray[np.uint8]


def render(output: Path, train: int, test: int) -> None:
    """Writes a video a class of so many scenes to train on and to evaluate on, and their lists.

    Videos that are there stay; the same numbers give the same bytes.
    """
    scenes, classes = range(train + test), list(enumerate(MOTIONS, 1))
    lists = {
        "classInd": [f"{label} {motion}" for label, motion in classes],
        "trainlist01": [f"{_video(s, m)} {label}" for s in scenes[:train] for label, m in classes],
        "testlist01": [_video(s, m) for s in scenes[train:] for m in MOTIONS],
    }
    for name, lines in lists.items():
        write_text(output / f"lists/{name}.txt", "\n".join(lines) + "\n")
    progress = Progress("render", len(scenes) * len(MOTIONS))
    for scene in scenes:
        pictures = scene_pictures(scene)
        for motion in MOTIONS:
            path = output / "videos" / _video(scene, motion)
            if not path.exists():
                write_video(path, pictures[order(scene, motion)])
            progress.add(failed=False)
    progress.close()


def _video(scene: int, motion: str) -> str:
    return f"{motion}/v_{motion}_g{scene + 1:02d}_c01.avi"


def order(scene: int, motion: str) -> NDArray[np.int64]:
    """Which picture each frame of a video shows: [FRAMES], from a random one on."""
    start = np.random.default_rng([0, scene, 1, list(MOTIONS).index(motion)]).integers(PICTURES)
    return np.asarray((start + MOTIONS[motion] * np.arange(FRAMES)) % PICTURES)


def scene_pictures(scene: int) -> Picture:
    """The pictures [17, HEIGHT, WIDTH, 3], RGB, of the scene with this 0-based number."""
    rng = np.random.default_rng([0, scene, 0])
    # One canvas, over which the pictures are windows: each a shift to the left of the one before.
    extent = WIDTH + (PICTURES - 1) * SHIFT
    y, x = np.mgrid[:HEIGHT, :extent] / SHIFT
    canvas = np.asarray(np.rint(_scene(rng, y, x).clip(0, 255)), np.uint8)
    lefts = range(extent - WIDTH, -1, -SHIFT)
    return np.stack([canvas[:, left : left + WIDTH] for left in lefts])


def write_video(path: Path, pictures: Picture) -> None:
    """Writes pictures [T, H, W, 3] as a video in which every frame is coded alone."""
    import av

    with replacing(path) as temporary, av.open(str(temporary), "w", format="avi") as out:
        stream = out.add_stream("mpeg4", rate=25, options=_QUALITY)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 1
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))


def _scene(rng: np.random.Generator, y: Field, x: Field) -> Field:
    """Colours [H, W, 3], 0 to 255 and beyond, at y and x [H, W], in shifts."""
    # Along the two periods, which are orthogonal, and both 17 ** 0.5 shifts long.
    u, v = (4 * x + y) / PICTURES, (4 * y - x) / PICTURES
    ground, filling = _texture(rng, u, v, detail=2), _texture(rng, u, v, detail=3)
    u, v = (each % 1 - 0.5 for each in (u, v))
    # A regular polygon, from the distance to the middle of the side that is nearest.
    side = 2 * np.pi / rng.integers(3, 7)
    angle = (np.arctan2(v, u) + rng.uniform(0, 2 * np.pi)) % side - side / 2
    outside = np.hypot(u, v) * np.cos(angle) - rng.uniform(0.22, 0.34)
    soft = 0.25 / (PICTURES**0.5 * SHIFT)  # about a pixel from inside to outside
    mask = 1 / (1 + np.exp(outside / soft))[..., None]
    return np.asarray(ground + mask * (filling - ground))


def _texture(rng: np.random.Generator, u: Field, v: Field, detail: int) -> Field:
    """Waves of all orientations, up to `detail` in a period of 1, around a colour: [H, W, 3]."""
    span = range(-detail, detail + 1)
    waves = [(m, n) for m in span for n in span if (n, m) > (0, 0) and np.hypot(m, n) <= detail]
    colours = np.zeros((*u.shape, 3))
    for m, n in waves:
        phase = 2 * np.pi * (m * u + n * v + rng.random())
        # Of similar strength, so that no scene is stripes, along which motion is invisible.
        strength = rng.uniform(0.5, 1, 3) * rng.choice([-1, 1], 3) / np.hypot(m, n)
        colours += strength * np.cos(phase)[..., None]
    return np.asarray(rng.uniform(60, 196, 3) + _CONTRAST * colours / colours.std((0, 1)))
