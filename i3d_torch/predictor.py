"""A network in inference: from decoded clips to scores and features; twin of `i3d_tf`'s."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from common import arch, models
from common.models import Model, check_predictor_inputs
from common.preprocessing.contracts import InputContract
from common.preprocessing.frames import standardisation
from common.training.optim import interpolation
from i3d_torch import devices, layers
from i3d_torch import model as video_model
from i3d_torch.model import VideoModel, blank

PRECISIONS = {name: getattr(torch, name) for name in models.PRECISIONS}
LAYOUT = torch.channels_last_3d


class Predictor:
    """A `common.models.Predictor`; `precision` is that of a model that is not optimised."""

    def __init__(self, model: VideoModel, contract: InputContract, precision: str = "float32"):
        self.model = model
        self.contract = contract
        self.precision = precision
        self.on_gpu = next(model.parameters()).device.type != "cpu"

    def scores(self, clips: np.ndarray, prepared: bool = False) -> np.ndarray:
        return self._infer(clips, prepared).mean(dim=1).cpu().numpy()

    def frame_scores(self, clips: np.ndarray) -> np.ndarray:
        return frame_logits(self._infer(clips), clips.shape[1]).cpu().numpy()

    @torch.no_grad()
    def features(self, clips: np.ndarray, endpoint: str) -> np.ndarray:
        check_predictor_inputs(clips, endpoint, self.model.returned)
        with models.explained(torch.OutOfMemoryError, clips, models.FEATURES):
            _, endpoints = self.model(self._inputs(clips, prepared=False), final_endpoint=endpoint)
        found = endpoints[endpoint].float()
        if found.ndim == 2:  # logits and predictions
            return found[:, None].cpu().numpy()
        return found.mean(dim=(3, 4)).movedim(1, 2).contiguous().cpu().numpy()

    def time_steps(
        self, clips: np.ndarray, dropout: Tensor | None = None, prepared: bool = False
    ) -> Tensor:
        """Logits [B, T', num_classes] before they are averaged; for `dropout` see `layers.Head`."""
        head = self.model.net.head
        x = self._inputs(clips, prepared)
        dtype = PRECISIONS[self.precision]
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            features, _ = self.model(x, final_endpoint=head.features)
        return self.model.get_submodule(head.name).time_steps(features, dropout)

    def _inputs(self, clips: np.ndarray, prepared: bool) -> Tensor:
        """Clips [B, C, T, H, W] in the network's value range, on its device."""
        device = next(self.model.parameters()).device
        x = torch.tensor(clips, device=device).movedim(-1, 1)
        if prepared:
            return x
        x = x.contiguous()
        if self.contract.channels == "flow" and clips.dtype != np.uint8:
            return x
        shift, scale = (
            torch.from_numpy(values).to(device).view(-1, 1, 1, 1)
            for values in standardisation(self.contract, clips.shape[-1], clips.dtype.name)
        )
        return (x.float() - shift) / scale

    @torch.no_grad()
    def _infer(self, clips: np.ndarray, prepared: bool = False) -> Tensor:
        check_predictor_inputs(clips)
        training = self.model.training
        self.model.eval()
        with models.explained(torch.OutOfMemoryError, clips, models.INFERENCE):
            logits = self.time_steps(clips, prepared=prepared)
        self.model.train(training)
        return logits


def frame_logits(steps: Tensor, count: int) -> Tensor:
    """Interpolates logits of time steps [B, T, num_classes] linearly to `count` frames."""
    weights = torch.from_numpy(interpolation(steps.shape[1], count)).to(steps.device)
    return weights @ steps


def make_predictor(
    model: Model,
    *,
    endpoints: Sequence[str] = (),
    device: str = "auto",
    precision: str = "float32",
) -> Predictor:
    """See `common.models.MakePredictor`; `ValueError` for an unknown endpoint, or without a GPU."""
    for endpoint in endpoints:
        arch.check_endpoint(model.net, endpoint)
    kept = (model.net.head.features, *endpoints)
    fast = inference_model(model.net, model.arrays, devices.choose(device), precision, kept)
    return Predictor(fast, model.contract)


def optimize(
    model: VideoModel, precision: str = "float32", endpoints: Collection[str] | None = None
) -> VideoModel:
    """A copy of a model for inference: batch norm folded, channels last, kernels reordered once.

    In float32 its results differ by rounding alone; endpoints before the head are in `precision`.

    Args:
        model: Any model, which is not changed.
        precision: One of `PRECISIONS`; the head computes in float32.
        endpoints: Those that a call returns; None are the model's. Fewer take less memory.

    Raises:
        ValueError: A weight is not finite, a batch norm cannot be folded, or an unknown precision.
    """
    kept = model.returned if endpoints is None else tuple(endpoints)
    device = next(model.parameters()).device
    return inference_model(model.net, video_model.arrays(model), device, precision, kept)


@torch.inference_mode(False)  # whose tensors have no version: see `_InferenceConv`
def inference_model(
    net: arch.Network,
    arrays: arch.Arrays,
    device: torch.device,
    precision: str,
    endpoints: tuple[str, ...],
) -> VideoModel:
    """Makes a model of `arrays` for inference alone; see `optimize`."""
    models.check_precision(precision, gpu=device.type != "cpu")
    dtype = PRECISIONS[precision]
    net, arrays = arch.folded(net, arrays)
    fast = blank(lambda: _Inference(net, dtype), device).eval().requires_grad_(False)
    video_model.assign(fast, arrays)
    fast.returned = endpoints
    for name, layer in fast.named_children():
        if name != net.head.name:
            layer.to(dtype, memory_format=LAYOUT)
    _fuse(fast)
    return fast


class _Inference(VideoModel):
    """A model for inference, which computes in another precision than its clips'."""

    def __init__(self, net: arch.Network, dtype: torch.dtype):
        super().__init__(net)
        self.dtype = dtype

    def forward(
        self, clips: Tensor, final_endpoint: str | None = None, dropout: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        arch.check_dtype(self.net, str(clips.dtype).removeprefix("torch."))
        # The fused ops make 0 of NaN.
        if not torch.isfinite(clips.sum(dtype=torch.float32)):
            raise ValueError(f"{self.net.name}: {arch.NOT_FINITE}")
        x = clips.to(self.dtype, memory_format=LAYOUT)
        return super().forward(x, final_endpoint, dropout)


class _InferenceConv(layers.Conv):
    """A convolution with bias, ReLU and a residual sum in one op where oneDNN computes it."""

    def __init__(self, layer: layers.Conv):
        nn.Module.__init__(self)
        self.node, self.conv, self.norm = layer.node, layer.conv, None
        self._packed: tuple[Tensor, object] | None = None  # the reordered kernel, and of what

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        x = x.contiguous(memory_format=LAYOUT)
        if not _onednn(x):
            return super().forward(x, added)
        x, padding = layers.pad_unevenly(x, self.node)
        window = padding, self.node.stride, (1, 1, 1), 1  # dilation and groups
        kernel, bias = self._reordered(window, x.shape), self.conv.bias
        op = torch.ops.mkldnn._convolution_pointwise
        if added is None:
            return op(x, kernel, bias, *window, "relu" if self.node.relu else "none", [], "")
        added = added.contiguous(memory_format=LAYOUT)
        return op.binary(x, added, kernel, bias, *window, "add", None, "relu", [], None)

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), "_packed": None}  # opaque: neither copied nor saved

    def _reordered(self, window: tuple, shape: torch.Size) -> Tensor:
        """The kernel in the order that is best for clips of `shape`; others may use it, too."""
        weight = self.conv.weight.detach()
        changes = 0 if weight.is_inference() else weight._version
        version = weight.dtype, weight.data_ptr(), changes
        if self._packed is None or self._packed[1] != version:
            packed = torch._C._nn.mkldnn_reorder_conv3d_weight(weight.to_mkldnn(), *window, shape)
            self._packed = packed, version
        return self._packed[0]


def _fuse(module: nn.Module) -> None:
    """Replaces the convolutions in a module by those for inference."""
    for name, layer in list(module.named_children()):
        if isinstance(layer, layers.Conv):
            setattr(module, name, _InferenceConv(layer))
        else:
            _fuse(layer)


def _onednn(x: Tensor) -> bool:
    """Whether oneDNN convolves tensors like `x`."""
    ops = torch.ops.mkldnn
    if not (x.is_cpu and torch.backends.mkldnn.is_available()):
        return False
    if x.dtype == torch.bfloat16:
        return ops._is_mkldnn_bf16_supported()
    return x.dtype == torch.float32 or ops._is_mkldnn_fp16_supported()
