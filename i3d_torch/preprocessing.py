"""Size, crop, flip and value range of clips in torch; twin of `i3d_tf/preprocessing.py`.

Clips are [B, C, T, H, W] on any device, with the values of `common.preprocessing.frames` and the
results of its functions: crops and flips exactly, sizes within 2e-7 of the range for each pixel of
the longer side, because torch keeps positions in float32. Every function raises `ValueError` for
clips without five axes, sizes and crops that do not fit, and other channels or types than it takes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.flow.encoding import BOUND
from common.preprocessing import crops
from common.preprocessing.contracts import InputContract
from common.preprocessing.crops import Corner
from common.preprocessing.frames import standardisation

AXES = "clips [B, C, T, H, W]"


def resize_short_side(clips: Tensor, size: int = 256) -> Tensor:
    """Resizes so that the shorter side is `size`; float32 [B, C, T, H', W'] in the same range."""
    return resize(clips, *crops.resized_size(*_size(clips), size))


def resize(clips: Tensor, height: int, width: int) -> Tensor:
    """Resizes bilinearly; float32 [B, C, T, height, width] in the same range."""
    _size(clips)
    crops.check_size(height, width)
    pictures = clips.float().flatten(1, 2)  # Frames as channels: no copy.
    resized = F.interpolate(pictures, size=(height, width), mode="bilinear", align_corners=False)
    return resized.unflatten(1, clips.shape[1:3])


def crop(clips: Tensor, corner: Corner, size: int) -> Tensor:
    """Cuts [B, C, T, size, size] out at (top, left)."""
    crops.check_corner(*_size(clips), corner, size)
    top, left = corner
    return clips[..., top : top + size, left : left + size]


def center_crop(clips: Tensor, size: int = 224) -> Tensor:
    """Cuts [B, C, T, size, size] out of the middle."""
    return crop(clips, crops.center_corner(*_size(clips), size), size)


def three_crop(clips: Tensor, size: int = 256) -> Tensor:
    """Cuts [B, 3, C, T, size, size] along the longer side: see `crops.three_corners`."""
    corners = crops.three_corners(*_size(clips), size)
    return torch.stack([crop(clips, corner, size) for corner in corners], 1)


def ten_crop(clips: Tensor, size: int = 224, flow: bool = False) -> Tensor:
    """Cuts [B, 10, C, T, size, size], in the order of `crops.ten_crop`."""
    corners = crops.five_corners(*_size(clips), size)
    five = [crop(clips, corner, size) for corner in corners]
    return torch.stack([*five, *(flip(part, flow) for part in five)], 1)


def flip(clips: Tensor, flow: bool = False) -> Tensor:
    """Mirrors left and right; the x of flow changes its sign, as in `crops.flip`."""
    crops.check_axes(clips.shape, AXES)
    mirrored = clips.flip(-1)
    if not flow:
        return mirrored
    crops.check_flow(clips.shape[1])
    x, y = mirrored.split(1, 1)
    return torch.cat([255 - x if crops.is_stored(_dtype(clips)) else -x, y], 1)


def to_contract(clips: Tensor, contract: InputContract) -> Tensor:
    """Turns values into what the contract says, float32, as `frames.to_contract`."""
    crops.check_axes(clips.shape, AXES)
    shift, scale = standardisation(contract, clips.shape[1], _dtype(clips))
    values = clips.float()
    if contract.channels == "flow" and not crops.is_stored(_dtype(clips)):
        values = values.clamp(-BOUND, BOUND)
    shift, scale = (
        torch.from_numpy(array).to(clips.device).view(-1, 1, 1, 1) for array in (shift, scale)
    )
    return (values - shift) / scale


def _size(clips: Tensor) -> tuple[int, int]:
    """Height and width; raises `ValueError` unless they are [B, C, T, H, W]."""
    crops.check_axes(clips.shape, AXES)
    return clips.shape[3], clips.shape[4]


def _dtype(clips: Tensor) -> str:
    return str(clips.dtype).removeprefix("torch.")
