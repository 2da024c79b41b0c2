"""Training in PyTorch; the twin of `i3d_tf/train_step.py`.

`common/training/optim.py` has the interface and the update rule. Everything is on torch's default
device: see `torch.set_default_device`.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from common import arch, hardware
from common.arch import Arrays
from common.preprocessing.contracts import InputContract
from common.training import optim
from common.training.data import Batch
from common.training.optim import StepResult
from common.training.recipes import Recipe
from i3d_torch import batch_norm, losses, weights
from i3d_torch.model import VideoModel
from i3d_torch.optimize import training_model
from i3d_torch.predictor import Predictor


class TrainStep:
    """A `common.training.optim.TrainStep`.

    Each of several ranks has its own and takes its share of a batch. Their gradients are summed
    once a step, as one array, so that the order of additions, and with it every bit, depends only
    on the number of ranks; DistributedDataParallel regroups gradients after the first step of
    every process, so that a resumed run would differ.
    """

    def __init__(
        self,
        net: arch.Network,
        arrays: Arrays,
        recipe: Recipe,
        contract: InputContract,
        distributed: dist.ProcessGroup | None = None,
    ):
        """Makes a model with its weights.

        Args:
            net: The network.
            arrays: The first weights, exactly the network's, by canonical name.
            recipe: How to train.
            contract: What the network expects of clips.
            distributed: The ranks that train together, as `torch.distributed.group.WORLD`; None
                trains alone.

        Raises:
            CheckpointError: The arrays are not the network's.
            ValueError: The recipe trains from an endpoint that the network does not have.
        """
        self.net = net = optim.configured(net, recipe)
        self.recipe = recipe
        self.group = distributed
        self.replicas = dist.get_world_size(distributed) if distributed else 1
        self.scaler = optim.Scaler()
        self.decayed = optim.decayed(net, recipe)
        self.model = training_model(net, recipe.recompute).train()
        batch_norm.set_mode(self.model, optim.batch_norm_mode(recipe, self.replicas))
        for name in optim.frozen_nodes(net, recipe):
            batch_norm.set_mode(self.model.get_submodule(name), "freeze")
        own = dict(self.model.named_parameters())
        self.trained = {p.name: own[p.name] for p in optim.trained(net, recipe)}
        for name, parameter in own.items():
            parameter.requires_grad_(name in self.trained)
        self.optimizer = self._optimizer()
        self.momentum = {name: torch.zeros_like(p) for name, p in self.trained.items()}
        for name, parameter in self.trained.items():
            self.optimizer.state[parameter]["momentum_buffer"] = self.momentum[name]
        self.average = training_model(net).eval() if recipe.average_decay else None
        self.training = Predictor(self.model, contract, recipe.precision)
        self.predictor = Predictor(self.average or self.model, contract, recipe.precision)
        self.assign(arrays)

    def step(self, batches: Sequence[Batch], rate: float) -> StepResult:
        """See `common.training.optim.TrainStep`."""
        share = 1 / (len(batches) * self.replicas)
        self.model.zero_grad()
        measured = torch.zeros(2)
        with hardware.explained(torch.OutOfMemoryError, batches[0].clips, hardware.TRAINING):
            for batch in batches:
                measured += share * self._accumulate(batch, share * self.scaler.scale)
            gradients = self._over_replicas([p.grad for p in self.trained.values()], measured)
        norm = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
        )
        loss, correct = measured.tolist()
        found, factor, self.scaler = optim.check_step(
            self.recipe, self.scaler, loss, norm.item(), correct
        )
        if factor is not None:
            self._update(gradients, rate, factor)
        return found

    def state(self) -> dict[str, np.ndarray]:
        """See `common.training.optim.TrainStep`."""
        momentum = {name: v.cpu().numpy().copy() for name, v in self.momentum.items()}
        average = weights.arrays(self.average) if self.average else None
        state = optim.State(weights.arrays(self.model), momentum, average, self.scaler)
        return state.to_arrays(self.recipe)

    def restore(self, arrays: Arrays) -> None:
        """See `common.training.optim.TrainStep`."""
        state = optim.State.from_arrays(self.net, self.recipe, arrays)
        weights.assign(self.model, state.model)
        for name, velocity in self.momentum.items():
            velocity.copy_(torch.tensor(state.momentum[name]))
        if self.average:
            weights.assign(self.average, state.average)
        self.scaler = state.scaler

    def assign(self, arrays: Arrays) -> None:
        """Sets the weights, exactly the network's; raises `CheckpointError` for others."""
        weights.assign(self.model, arrays)
        if self.average:
            weights.assign(self.average, arrays)

    def _accumulate(self, batch: Batch, scale: float) -> Tensor:
        """Adds `scale` times the gradient of a micro-batch; returns its loss and share correct."""
        targets = torch.tensor(batch.targets, device=_device())
        dropout = optim.dropout(self.net, batch)
        if dropout is not None:
            dropout = torch.tensor(dropout, device=_device()).movedim(-1, 1)
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
        for parameter, gradient in zip(self.trained.values(), gradients, strict=True):
            parameter.grad.copy_(gradient.mul_(factor))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.average:
            self._average(self.average)

    def _average(self, average: VideoModel) -> None:
        """Averages the trained parameters; copies the rest, running statistics included."""
        averages = average.state_dict()
        for name, tensor in self.model.state_dict().items():
            if name in self.trained:
                averages[name].lerp_(tensor, 1 - self.recipe.average_decay)
            else:
                averages[name].copy_(tensor)

    def _optimizer(self) -> torch.optim.SGD:
        """The update rule of `optim`, fused over all parameters."""
        kinds: dict[float, list[Tensor]] = {0.0: [], self.recipe.weight_decay: []}
        for name, parameter in self.trained.items():
            kinds[self.recipe.weight_decay if name in self.decayed else 0.0].append(parameter)
        return torch.optim.SGD(
            [{"params": own, "weight_decay": decay} for decay, own in kinds.items() if own],
            lr=self.recipe.learning_rate,
            momentum=self.recipe.momentum,
            nesterov=self.recipe.nesterov,
            fused=True,
        )


def _device() -> torch.device:
    return torch.get_default_device()
