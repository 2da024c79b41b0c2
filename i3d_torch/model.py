"""A network built from its description; the twin of `i3d_tf/model.py`."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from common import arch
from i3d_torch import layers

Step = Callable[[Tensor], Tensor]
"""From an endpoint to the next one."""


class VideoModel(nn.Module):
    """A video network in PyTorch, with the nodes of `net` as submodules of the same names.

    Attributes:
        net: The network.
        returned: Names of the endpoints that a call returns; all, unless it is changed.
    """

    def __init__(self, net: arch.Network):
        super().__init__()
        self.net = net
        self.returned = net.endpoints
        # The names of the weights do not tell all architectures apart; a saved state dict does.
        self.register_buffer("architecture", _letters(net.name))
        channels = net.in_channels
        for node in net.nodes[:-1]:
            layer = layers.build(node, channels)
            self.add_module(node.name, layer)
            channels = layer.out_channels
        self.add_module(net.head.name, layers.build(net.head, channels))

    def forward(
        self,
        clips: Tensor,
        final_endpoint: str | None = None,
        dropout: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Runs a batch of clips.

        Args:
            clips: [B, C, T, H, W] float32, in the value range of the weights' input contract.
            final_endpoint: Where to stop; None runs to the end.
            dropout: What to multiply the features with, of their shape; see `layers.Head`.

        Returns:
            The logits [B, num_classes], averaged over time (or, stopped earlier, the output of
            `final_endpoint`), and the endpoints on the way by name: [B, C, T, H, W], and
            [B, num_classes] for logits and predictions.

        Raises:
            ValueError: The clips do not fit the network, or there is no such endpoint.
        """
        net = self.net
        arch.check_clips(net, clips.shape, "BCTHW")
        if clips.dtype != next(self.parameters()).dtype:
            arch.check_dtype(net, str(clips.dtype).removeprefix("torch."))
        arch.check_endpoint(net, final_endpoint)
        endpoints: dict[str, Tensor] = {}
        x = output = clips
        for name, step in self._steps(dropout):
            x = step(x)
            if name in self.returned:
                endpoints[name] = x
            if name != net.head.predictions:
                output = x
            if name == final_endpoint:
                break
        return output, endpoints

    def _steps(self, dropout: Tensor | None) -> list[tuple[str, Step]]:
        """Endpoints in order, each with what computes it from the one before."""
        head = self.get_submodule(self.net.head.name)
        return [
            *((node.name, self.get_submodule(node.name)) for node in self.net.nodes[:-1]),
            (self.net.head.features, head.features),
            (self.net.head.name, functools.partial(head, dropout=dropout)),
            (self.net.head.predictions, functools.partial(torch.softmax, dim=-1)),
        ]


def blank(make: Callable[[], VideoModel], device: torch.device | None = None) -> VideoModel:
    """Makes a model whose weights are about to be assigned: initial values take a second.

    Args:
        make: Makes it.
        device: That it is to be on; None is torch's default.
    """
    with torch.device("meta"):  # on which nothing is computed
        model = make()
    place = device or torch.get_default_device()
    # Not `to_empty`, which makes values like those of "meta", and imports half a second for it.
    model._apply(lambda value: torch.empty(value.shape, dtype=value.dtype, device=place))
    model.architecture.copy_(_letters(model.net.name))
    return model


def create(architecture: str, num_classes: int = 400, in_channels: int = 3) -> VideoModel:
    """Makes any network of `common.arch.ARCHITECTURES` with initial values, ready for inference.

    Raises:
        ValueError: There is no such architecture.
    """
    return VideoModel(arch.make(architecture, num_classes, in_channels)).eval()


def inception_i3d(num_classes: int = 400, in_channels: int = 3) -> VideoModel:
    """Makes InceptionI3D with initial values, ready for inference."""
    return VideoModel(arch.inception_i3d(num_classes, in_channels)).eval()


def _letters(name: str) -> Tensor:
    return torch.tensor(list(name.encode()), dtype=torch.uint8)
