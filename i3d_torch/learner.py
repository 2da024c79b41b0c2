"""Training in PyTorch; the twin of `i3d_tf/learner.py`.

`common/training/learner.py` says what a learner is, `common/training/optimisation.py` by what rule
it steps. Everything lies on torch's default device: see `torch.set_default_device`.
"""

import contextlib
import datetime
import math
import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from common import arch
from common.contracts import InputContract
from common.recipes import Recipe
from common.training import optimisation
from common.training.batches import Batch, dropout_masks
from common.training.learner import Arrays, Measured
from common.training.loop import Place
from i3d_torch import layers, losses, weights
from i3d_torch.model import VideoModel
from i3d_torch.scorer import Scorer

# The others wait for the first process while it evaluates; torchrun notices one that died.
_PATIENCE = datetime.timedelta(hours=12)


class Learner:
    """A `common.training.learner.Learner`.

    With several ranks each has its own and takes its share of a batch. Their gradients are summed
    once a step, as one array, so that the order of additions, and with it every bit, depends on
    nothing but how many ranks there are; DistributedDataParallel regroups them after the first step
    of every run, a resumed one too.
    """

    def __init__(
        self,
        net: arch.Network,
        recipe: Recipe,
        contract: InputContract,
        group: dist.ProcessGroup | None,
    ):
        self.net = net = optimisation.configured(net, recipe)
        self.recipe = recipe
        self.group = group
        self.replicas = dist.get_world_size(group) if group else 1
        self.scaler = optimisation.Scaler()
        self.decayed = optimisation.decayed(net, recipe)
        self.model = VideoModel(net).train()
        alone = recipe.batch_norm == "sync" and self.replicas == 1
        layers.set_batch_norm(self.model, "train" if alone else recipe.batch_norm)
        for name in optimisation.frozen_nodes(net, recipe):
            layers.set_batch_norm(self.model.get_submodule(name), "freeze")
        own = dict(self.model.named_parameters())
        self.trained = {p.name: own[p.name] for p in optimisation.trained(net, recipe)}
        for name, parameter in own.items():
            parameter.requires_grad_(name in self.trained)
        self.momentum = {name: torch.zeros_like(p) for name, p in self.trained.items()}
        self.average = VideoModel(net).eval() if recipe.average_decay else None
        self.training = Scorer(self.model, contract, recipe.precision)
        self.judged = Scorer(self.average or self.model, contract, recipe.precision)

    def step(self, batches: Sequence[Batch], rate: float) -> Measured:
        """See `common.training.learner.Learner`."""
        share = 1 / (len(batches) * self.replicas)
        self.model.zero_grad()
        measured = torch.zeros(2)
        for batch in batches:
            measured += share * self._accumulate(batch, share * self.scaler.scale)
        gradients = self._over_replicas([p.grad for p in self.trained.values()], measured)
        norm = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
        )
        loss, correct, norm = (*measured.tolist(), norm.item() / self.scaler.scale)
        optimisation.check_measured(self.recipe, loss, norm)
        finite = math.isfinite(norm)
        if finite:
            factor = optimisation.gradient_factor(self.recipe, norm) / self.scaler.scale
            self._update(gradients, rate, factor)
        if self.recipe.precision == "float16":
            self.scaler = self.scaler.after(finite)
        return Measured(loss, norm, None if self.recipe.task == "frames" else correct)

    def scores(self, clips: np.ndarray) -> np.ndarray:
        """See `common.training.learner.Learner`."""
        return self.judged.scores(clips)

    def frame_scores(self, clips: np.ndarray) -> np.ndarray:
        """See `common.training.learner.Learner`."""
        return self.judged.frame_scores(clips)

    def state(self) -> dict[str, np.ndarray]:
        """See `common.training.learner.Learner`."""
        arrays = weights.arrays(self.model)
        for name, velocity in self.momentum.items():
            arrays[f"momentum/{name}"] = velocity.cpu().numpy().copy()
        if self.average:
            averaged = weights.arrays(self.average)
            arrays |= {f"average/{name}": averaged[name] for name in self.trained}
        if self.recipe.precision == "float16":
            arrays |= optimisation.scaler_state(self.scaler)
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """See `common.training.learner.Learner`."""
        optimisation.check_state(self.net, self.recipe, arrays)
        self.assign({p.name: arrays[p.name] for p in arch.parameters(self.net)})
        for name, velocity in self.momentum.items():
            velocity.copy_(torch.tensor(arrays[f"momentum/{name}"]))
        if self.average:
            averaged = {name: arrays[f"average/{name}"] for name in self.trained}
            weights.assign(self.average, weights.arrays(self.model) | averaged)
        if self.recipe.precision == "float16":
            self.scaler = optimisation.scaler_from(arrays)

    def assign(self, arrays: Arrays) -> None:
        """Starts from weights: exactly the network's, by canonical name.

        Raises:
            CheckpointError: Names or shapes differ; nothing is changed then.
        """
        weights.assign(self.model, arrays)
        if self.average:
            weights.assign(self.average, arrays)

    def _accumulate(self, batch: Batch, scale: float) -> Tensor:
        """Adds the gradient of a micro-batch, times `scale`; returns its loss and share correct."""
        targets = torch.tensor(batch.targets, device=_device())
        dropout = self._dropout(batch)
        logits = self.training.time_steps(batch.clips, dropout)
        if self.recipe.task == "frames":
            loss = losses.frames(losses.frame_logits(logits, batch.clips.shape[1]), targets)
            correct = torch.zeros([])
        else:
            logits = logits.mean(dim=1)
            loss = losses.classes(logits, targets, self.recipe.label_smoothing)
            correct = losses.correct(logits, targets)
        (loss * scale).backward()
        return torch.stack([loss.detach(), correct])

    def _over_replicas(self, gradients: Sequence[Tensor], measured: Tensor) -> Sequence[Tensor]:
        """The gradients summed over all ranks, as is `measured` in place."""
        if self.replicas == 1:
            return gradients
        flat = torch.cat([measured, *(gradient.flatten() for gradient in gradients)])
        dist.all_reduce(flat, group=self.group)
        sizes = [len(measured), *(gradient.numel() for gradient in gradients)]
        total, *summed = flat.split(sizes)
        measured.copy_(total)
        return [part.view_as(g) for part, g in zip(summed, gradients, strict=True)]

    @torch.no_grad()
    def _update(self, gradients: Sequence[Tensor], rate: float, factor: float) -> None:
        """Steps down the gradients times `factor`, and averages the weights."""
        recipe = self.recipe
        for (name, parameter), gradient in zip(self.trained.items(), gradients, strict=True):
            gradient = gradient * factor
            if name in self.decayed:
                gradient = gradient + recipe.weight_decay * parameter
            velocity = self.momentum[name]
            velocity.mul_(recipe.momentum).add_(gradient)
            if recipe.nesterov:
                velocity = gradient + recipe.momentum * velocity
            parameter.sub_(rate * velocity)
        if self.average:
            self._average(self.average)

    def _average(self, average: VideoModel) -> None:
        """Averages what trains; the rest, running statistics too, is the model's."""
        averages = average.state_dict()
        for name, tensor in self.model.state_dict().items():
            if name in self.trained:
                averages[name].lerp_(tensor, 1 - self.recipe.average_decay)
            else:
                averages[name].copy_(tensor)

    def _dropout(self, batch: Batch) -> Tensor | None:
        """What to multiply the features with, drawn by the clips' keys."""
        head = self.net.head
        if not head.dropout:
            return None
        shape = arch.endpoint_shapes(self.net, batch.clips.shape[1:4])[head.features]
        masks = dropout_masks(batch, shape, head.dropout)
        return torch.tensor(masks, device=_device()).movedim(-1, 1)


def create(
    net: arch.Network,
    arrays: Arrays,
    recipe: Recipe,
    contract: InputContract,
    distributed: dist.ProcessGroup | None = None,
) -> Learner:
    """Makes a learner.

    Args:
        net: The network.
        arrays: The weights to start from, exactly the network's, by canonical name.
        recipe: How to train.
        contract: What the network expects of clips.
        distributed: The ranks that train together, as `torch.distributed.group.WORLD`; None trains
            alone.

    Raises:
        CheckpointError: The arrays are not the network's.
        ValueError: The recipe trains from an endpoint that the network does not have.
    """
    learner = Learner(net, recipe, contract, distributed)
    learner.assign(arrays)
    return learner


def make_deterministic() -> None:
    """Lets torch compute the same bits every time on a CPU, in this whole process.

    Not on a GPU, where the gradient of a max pool has no deterministic implementation.
    """
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        # Else every new tensor is filled, for programs that read what they did not write.
        torch.utils.deterministic.fill_uninitialized_memory = False


@contextlib.contextmanager
def connected() -> Iterator[tuple[Place, dist.ProcessGroup | None]]:
    """Joins the processes that torchrun has started, if it has, each with a GPU of its own."""
    gpu = torch.cuda.is_available()
    if gpu:
        torch.set_default_device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
    if not dist.is_torchelastic_launched():
        yield Place("i3d_torch"), None
        return
    restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
    # torchrun keeps its store over a restart, with the addresses of the processes that died in it.
    store, rank, count = next(dist.rendezvous("env://", timeout=_PATIENCE))
    store = dist.PrefixStore(f"restart_{restarts}", store)
    backend = "nccl" if gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        place = Place("i3d_torch", rank, count, restarts != "0")
        yield place, dist.group.WORLD
    finally:
        dist.destroy_process_group()


def _device() -> torch.device:
    return torch.get_default_device()
