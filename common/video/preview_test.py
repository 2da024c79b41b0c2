import cv2
import numpy as np
import pytest

from common import video
from common.video import preview


def test_flow_is_shown_as_the_release_shows_it(tmp_path):
    flow = np.zeros((5, 20, 30, 2), np.float32)
    flow[:, :10, :, 0], flow[:, :, 15:, 1] = 0.25, -0.5
    assert preview.to_pictures(flow[:1, :1, :1] + 0.9).tolist() == [[[[255, 255, 127]]]]  # clipped
    preview.write_gif(tmp_path / "flow.gif", flow)
    frames = np.stack(list(video.read_frames(tmp_path / "flow.gif")))
    assert frames.shape == (5, 20, 30, 3)
    np.testing.assert_allclose(frames[..., :2] / 255 - 0.5, flow, atol=1 / 255)
    assert (frames[..., 2] == 127).all()


def test_rgb_keeps_its_colours_and_the_rate(tmp_path):
    ramp = np.linspace(-1, 1, 32 * 32 * 3, dtype=np.float32).reshape(1, 32, 32, 3)
    clip = np.concatenate([ramp, -ramp, ramp])
    preview.write_gif(tmp_path / "rgb.gif", clip, fps=25)
    frames = np.stack(list(video.read_frames(tmp_path / "rgb.gif")))
    assert np.abs(frames / 255 * 2 - 1 - clip).mean() < 0.03
    assert video.measure(tmp_path / "rgb.gif").times == pytest.approx([0, 0.04, 0.08])
    assert b"NETSCAPE2.0" in (tmp_path / "rgb.gif").read_bytes()  # repeats
    assert [path.name for path in tmp_path.iterdir()] == ["rgb.gif"]


def test_a_sheet_shows_moments_in_columns_and_clips_in_rows(tmp_path):
    levels = np.linspace(-1, 1, 15, dtype=np.float32)
    rgb = np.tile(levels[:, None, None, None], (1, 6, 8, 3))
    flow = np.tile(levels[:, None, None, None], (1, 6, 8, 2))
    preview.write_sheet(tmp_path / "sheet.png", [rgb, flow])
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    assert sheet.shape == (12, 64, 3)
    for column, level in enumerate([0, 36, 73, 109, 146, 182, 219, 255]):
        assert (sheet[:6, 8 * column : 8 * column + 8] == level).all()
    assert sheet[6:, 0].tolist() == [[0, 0, 127]] * 6
    preview.write_sheet(tmp_path / "short.png", [rgb[:2]])
    assert cv2.imread(str(tmp_path / "short.png")).shape == (6, 16, 3)
