"""A model sped up for inference: the same function in fewer passes over memory.

What takes the time of a plain model beside its convolutions are batch norm, copies for padding,
and pools in the layout that torch calls contiguous. `i3d_tf/optimize.py` is the twin.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import arch
from i3d_torch import layers, weights
from i3d_torch.model import VideoModel

_LAYOUT = torch.channels_last_3d


def optimize(model: VideoModel) -> VideoModel:
    """A copy of a model for inference: batch norm folded, no copies to pad, channels last.

    It takes and gives what the model does. Results differ by what float32 rounds.

    Raises:
        ValueError: A batch norm cannot be folded.
    """
    net, arrays = arch.folded(model.net, weights.arrays(model))
    fast = VideoModel(net)
    weights.assign(fast, arrays)
    for parent in list(fast.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, layers.Conv):
                setattr(parent, name, _Conv(layer))
            elif isinstance(layer, layers.Pool) and layer.node.kind == "max":
                setattr(parent, name, _MaxPool(layer))
    device = next(model.parameters()).device
    return fast.to(device, memory_format=_LAYOUT).eval().requires_grad_(False)


class _Conv(nn.Module):
    """A convolution that pads by itself, as far as its op can."""

    def __init__(self, layer: layers.Conv):
        super().__init__()
        self.node = layer.node
        self.out_channels = layer.out_channels
        self.conv = layer.conv

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=_LAYOUT)
        pads = arch.pads(x.shape[2:], self.node.kernel, self.node.stride, self.node.padding)
        around = tuple(min(pair) for pair in pads)  # what is left is on one side, of few inputs
        uneven = [cells - both for pair, both in zip(pads, around, strict=True) for cells in pair]
        if any(uneven):
            x = F.pad(x, _last_axis_first(uneven))
        x = F.conv3d(x, self.conv.weight, self.conv.bias, self.node.stride, around)
        return F.relu_(x) if self.node.relu else x


class _MaxPool(nn.Module):
    """A max pool that pads by itself, where its op can."""

    def __init__(self, layer: layers.Pool):
        super().__init__()
        self.plain = layer
        self.node = layer.node
        self.out_channels = layer.out_channels

    def forward(self, x: Tensor) -> Tensor:
        node = self.node
        pads = arch.pads(x.shape[2:], node.kernel, node.stride, node.padding)
        before = tuple(first for first, _ in pads)
        beyond = [last - first for first, last in pads]
        # The op pads both sides alike, at most half a window, and may go beyond the end where a
        # stride leaves something there; "same" has at most one cell more there.
        if any(2 * cells > size for cells, size in zip(before, node.kernel, strict=True)):
            return self.plain(x)
        if not any(beyond):
            return F.max_pool3d(x, node.kernel, node.stride, before)
        if node.padding != "same":
            return self.plain(x)
        return F.max_pool3d(x, node.kernel, node.stride, before, ceil_mode=True)


def _last_axis_first(cells: list[int]) -> list[int]:
    """Of (before, after) along T, H, W, what `F.pad` takes."""
    return [cells[4], cells[5], cells[2], cells[3], cells[0], cells[1]]
