"""Training in PyTorch; the twin of `i3d_tf/train_step.py`.

`common/training/loop.py` has the interface, `optim.py` the update rule. Everything is on torch's
default device.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from common import arch, models
from common.arch import Arrays
from common.preprocessing.contracts import InputContract
from common.training import data, optim
from common.training.data import Batch
from common.training.optim import StepResult
from common.training.recipes import Recipe
from i3d_torch import batch_norm
from i3d_torch import model as video_model
from i3d_torch.model import VideoModel
from i3d_torch.predictor import LAYOUT, Predictor, frame_logits


class TrainStep:
    """A `common.training.loop.TrainStep`.

    Each of several ranks takes its share of a batch. Their gradients are summed once a step, as one
    array, so that every bit depends only on the number of ranks; DistributedDataParallel regroups
    gradients after the first step of a process, so that a resumed run would differ.
    """

    def __init__(
        self,
        net: arch.Network,
        arrays: Arrays,
        recipe: Recipe,
        contract: InputContract,
        distributed: dist.ProcessGroup | None = None,
    ):
        """Makes a model with its weights; `distributed` None trains alone.

        Raises:
            CheckpointError: The arrays are not the network's.
            ValueError: The recipe trains from an endpoint that the network does not have.
        """
        self.net = net = optim.configured(net, recipe)
        self.recipe = recipe
        self.group = distributed
        self.replicas = dist.get_world_size(distributed) if distributed else 1
        self.decayed = optim.decayed(net, recipe)
        self.model = VideoModel(net).train().to(memory_format=LAYOUT)
        self.model.recompute = recipe.recompute
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
        self.average = None
        if recipe.average_decay:
            self.average = VideoModel(net).eval().to(memory_format=LAYOUT)
        self.training = Predictor(self.model, contract, recipe.precision)
        self.predictor = Predictor(self.average or self.model, contract, recipe.precision)
        self.assign(arrays)

    def step(self, batches: Sequence[Batch], rate: float) -> StepResult:
        share = 1 / (len(batches) * self.replicas)
        self.model.zero_grad()
        measured = torch.zeros(2)
        with models.explained(torch.OutOfMemoryError, batches[0].clips, models.TRAINING):
            for batch in batches:
                measured += share * self._accumulate(batch, share)
            gradients = self._over_replicas([p.grad for p in self.trained.values()], measured)
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        loss, correct = measured.tolist()
        classes = self.recipe.task == "classes"
        found = StepResult(loss, norm.item(), correct if classes else None)
        self._update(gradients, rate, optim.check_step(self.recipe, found))
        return found

    def state(self) -> dict[str, np.ndarray]:
        return self._state().to_arrays()

    def restore(self, arrays: Arrays) -> None:
        state = self._state().read(arrays)
        self.assign(state.model, state.average)
        for name, velocity in self.momentum.items():
            velocity.copy_(torch.tensor(state.momentum[name]))

    def assign(self, arrays: Arrays, average: Arrays | None = None) -> None:
        """Sets the weights, and where it is kept their average, which starts as the same."""
        video_model.assign(self.model, arrays)
        if self.average:
            video_model.assign(self.average, average or arrays)

    def _state(self) -> optim.State:
        momentum = {name: v.cpu().numpy().copy() for name, v in self.momentum.items()}
        average = video_model.arrays(self.average) if self.average else None
        return optim.State(video_model.arrays(self.model), momentum, average)

    def _accumulate(self, batch: Batch, share: float) -> Tensor:
        """Adds `share` times the gradient of a micro-batch; returns its loss and share correct."""
        targets = torch.tensor(batch.targets, device=torch.get_default_device())
        dropout = data.dropout(self.net, batch)
        if dropout is not None:
            dropout = torch.tensor(dropout, device=targets.device).movedim(-1, 1)
        steps = self.training.time_steps(batch.clips, dropout)
        loss, correct = loss_and_correct(self.recipe, steps, targets, batch.clips.shape[1])
        (loss * share).backward()
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
        recipe, groups = self.recipe, []
        for decays in (False, True):
            own = [p for name, p in self.trained.items() if (name in self.decayed) == decays]
            groups.append({"params": own, "weight_decay": decays * recipe.weight_decay})
        return torch.optim.SGD(
            groups, recipe.learning_rate, recipe.momentum, nesterov=recipe.nesterov, fused=True
        )


def loss_and_correct(
    recipe: Recipe, steps: Tensor, targets: Tensor, frames: int
) -> tuple[Tensor, Tensor]:
    """Loss, and share of the clips whose top class is their label, of logits of time steps.

    For classes it is the mean cross entropy. For frames it is half localisation loss, half
    classification loss, as piergiaj/pytorch-i3d on Charades: mean binary cross entropies of every
    frame, and of the maximum over time. `steps` are [B, T', num_classes], targets labels [B] or
    [B, `frames`, num_classes], 0 or 1.
    """
    if recipe.task == "frames":
        logits = frame_logits(steps, frames)
        localisation = F.binary_cross_entropy_with_logits(logits, targets)
        # amax: the gradient of equal logits is divided among them, as TensorFlow does.
        clips = F.binary_cross_entropy_with_logits(logits.amax(dim=1), targets.amax(dim=1))
        return (localisation + clips) / 2, torch.zeros([])
    logits = steps.mean(dim=1)
    loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
    # Of equal logits the first is on top.
    return loss, (logits.argmax(dim=1) == targets).float().mean()
