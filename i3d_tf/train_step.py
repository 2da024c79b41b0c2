"""Training in TensorFlow; the twin of `i3d_torch/train_step.py`.

`common/training/loop.py` has the interface, `optim.py` the update rule. Variables are where the
strategy puts them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from common import arch, models
from common.arch import Arrays
from common.preprocessing.contracts import InputContract
from common.training import data, optim
from common.training.data import Batch
from common.training.optim import StepResult
from common.training.recipes import Recipe
from i3d_tf import batch_norm
from i3d_tf import model as video_model
from i3d_tf.model import VideoModel
from i3d_tf.predictor import Predictor, frame_logits


def _in_replicas(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that the strategy runs in all replicas, as one graph."""

    @tf.function(autograph=False)
    def run(self: "TrainStep", *args: Any) -> Any:
        return self.strategy.run(lambda *own: method(self, *own), args)

    return run


class TrainStep:
    """A `common.training.loop.TrainStep`.

    Each of several replicas has its own variables, whose values stay equal: their gradients are
    summed once a step. Only running statistics differ, unless synchronised; the first's count.
    """

    def __init__(
        self,
        net: arch.Network,
        arrays: Arrays,
        recipe: Recipe,
        contract: InputContract,
        distributed: tf.distribute.Strategy | None = None,
    ):
        """Makes a model with its weights; `distributed` None trains alone.

        Raises:
            CheckpointError: The arrays are not the network's.
            ValueError: The recipe trains from an endpoint that the network does not have.
        """
        self.net = net = optim.configured(net, recipe)
        self.recipe = recipe
        self.strategy = strategy = distributed or tf.distribute.get_strategy()
        self.replicas = strategy.num_replicas_in_sync
        self.local = _local_replicas(strategy)
        self.decayed = optim.decayed(net, recipe)
        with strategy.scope(), tf.variable_creator_scope(_one_a_replica):
            self.model = VideoModel(net)
            self.model.recompute = recipe.recompute
            batch_norm.set_mode(self.model, optim.batch_norm_mode(recipe, self.replicas))
            for name in optim.frozen_nodes(net, recipe):
                batch_norm.set_mode(self.model.layers[name], "freeze")
            own = self.model.named_variables()
            self.trained = {p.name: own[p.name] for p in optim.trained(net, recipe)}
            self.momentum = {name: _zeros_like(p) for name, p in self.trained.items()}
            self.gradients = {name: _zeros_like(p) for name, p in self.trained.items()}
            self.measured = tf.Variable(tf.zeros([2]), trainable=False)
            self.average = VideoModel(net) if recipe.average_decay else None
        self.training = Predictor(self.model, contract, recipe.precision)
        self.predictor = Predictor(self.average or self.model, contract, recipe.precision)
        self.assign(arrays)

    def step(self, batches: Sequence[Batch], rate: float) -> StepResult:
        share = 1 / (len(batches) * self.replicas)
        self._start()
        out_of_memory = tf.errors.ResourceExhaustedError
        with models.explained(out_of_memory, batches[0].clips, models.TRAINING):
            for batch in batches:
                self._accumulate(*self._inputs(batch), _number(share))
            own = map(self.strategy.experimental_local_results, self._over_replicas())
            measured, norm = (values[0] for values in own)
        loss, correct = measured.numpy().tolist()
        classes = self.recipe.task == "classes"
        found = StepResult(loss, norm.numpy().item(), correct if classes else None)
        self._update(_number(rate), _number(optim.check_step(self.recipe, found)))
        return found

    def state(self) -> dict[str, np.ndarray]:
        return self._state().to_arrays()

    def restore(self, arrays: Arrays) -> None:
        state = self._state().read(arrays)
        self.assign(state.model, state.average)
        for name, velocity in self.momentum.items():
            video_model.set_array(velocity, state.momentum[name])

    def assign(self, arrays: Arrays, average: Arrays | None = None) -> None:
        """Sets the weights, and where it is kept their average, which starts as the same."""
        video_model.assign(self.model, arrays)
        if self.average:
            video_model.assign(self.average, average or arrays)

    def _state(self) -> optim.State:
        momentum = {name: video_model.to_array(v) for name, v in self.momentum.items()}
        average = video_model.arrays(self.average) if self.average else None
        return optim.State(video_model.arrays(self.model), momentum, average)

    @_in_replicas
    def _start(self) -> None:
        """Zeroes the gradients."""
        for sums in (*self.gradients.values(), self.measured):
            sums.assign(tf.zeros_like(sums))

    @_in_replicas
    def _accumulate(
        self, clips: tf.Tensor, targets: tf.Tensor, dropout: tf.Tensor | None, share: tf.Tensor
    ) -> None:
        """Adds a micro-batch's gradient, its loss and its share correct, all times `share`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(self.trained.values()))
            steps = self.training.time_steps(clips, dropout, is_training=True)
            loss, correct = loss_and_correct(self.recipe, steps, targets, clips.shape[1])
            scaled = loss * share
        gradients = tape.gradient(scaled, list(self.trained.values()))
        for sums, gradient in zip(self.gradients.values(), gradients, strict=True):
            sums.assign_add(gradient)
        self.measured.assign_add(share * tf.stack([loss, correct]))

    @_in_replicas
    def _over_replicas(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Sums the gradients over all replicas; returns what is measured, and their norm."""
        measured, *summed = self.measured, *self.gradients.values()
        if self.replicas > 1:
            context = tf.distribute.get_replica_context()
            own = [tf.identity(x) for x in (measured, *summed)]
            measured, *summed = context.all_reduce("sum", own)
            for sums, total in zip(self.gradients.values(), summed, strict=True):
                sums.assign(total)
        squares = tf.stack([tf.reduce_sum(tf.square(gradient)) for gradient in summed])
        return tf.identity(measured), tf.sqrt(tf.reduce_sum(squares))

    @_in_replicas
    def _update(self, rate: tf.Tensor, factor: tf.Tensor) -> None:
        """Steps down the gradients times `factor`, and averages the weights."""
        recipe = self.recipe
        for name, parameter in self.trained.items():
            gradient = self.gradients[name] * factor
            if name in self.decayed:
                gradient = gradient + recipe.weight_decay * parameter
            velocity = gradient
            if recipe.momentum:
                velocity = recipe.momentum * self.momentum[name] + gradient
                self.momentum[name].assign(velocity)
            if recipe.nesterov:
                velocity = gradient + recipe.momentum * velocity
            parameter.assign_sub(rate * velocity)
        if self.average:
            self._average(self.average)

    def _average(self, average: VideoModel) -> None:
        """Averages the trained parameters; copies the rest, running statistics included."""
        averages = average.named_variables()
        for name, variable in self.model.named_variables().items():
            if name in self.trained:
                share = 1 - self.recipe.average_decay
                averages[name].assign_add(share * (variable - averages[name]))
            else:
                averages[name].assign(tf.identity(variable))

    def _inputs(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Clips, targets and dropout, a slice of each for every replica in this process."""
        count = len(self.local)
        if len(batch.names) % count:
            clips = len(batch.names)
            raise ValueError(
                f"{count} replicas cannot share a micro-batch of {clips} clips evenly."
            )

        def slices(array: np.ndarray | None) -> tf.Tensor | None:
            if array is None:
                return None
            parts = dict(zip(self.local, np.split(array, count), strict=True))
            return self.strategy.experimental_distribute_values_from_function(
                lambda replica: tf.constant(parts[replica.replica_id_in_sync_group])
            )

        dropout = data.dropout(self.net, batch)
        return slices(batch.clips), slices(batch.targets), slices(dropout)


def loss_and_correct(
    recipe: Recipe, steps: tf.Tensor, targets: tf.Tensor, frames: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Loss, and share of the clips whose top class is their label, of logits of time steps.

    For classes it is the mean cross entropy. For frames it is half localisation loss, half
    classification loss, as piergiaj/pytorch-i3d on Charades: mean binary cross entropies of every
    frame, and of the maximum over time. `steps` are [B, T', num_classes], targets labels [B] or
    [B, `frames`, num_classes], 0 or 1.
    """
    if recipe.task == "frames":
        logits = frame_logits(steps, frames)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits
        localisation = tf.reduce_mean(entropy(targets, logits))
        clips = entropy(tf.reduce_max(targets, axis=1), tf.reduce_max(logits, axis=1))
        return (localisation + tf.reduce_mean(clips)) / 2, tf.zeros([])
    logits = tf.reduce_mean(steps, axis=1)
    count, smoothing = logits.shape[-1], recipe.label_smoothing
    shares = tf.one_hot(targets, count) * (1 - smoothing) + smoothing / count
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(shares, logits))
    # Of equal logits the first is on top.
    return loss, tf.reduce_mean(tf.cast(tf.argmax(logits, axis=1) == targets, tf.float32))


def _local_replicas(strategy: tf.distribute.Strategy) -> list[int]:
    """Numbers of the replicas that this process runs."""
    values = strategy.experimental_distribute_values_from_function(
        lambda replica: tf.constant(replica.replica_id_in_sync_group)
    )
    return [int(value) for value in strategy.experimental_local_results(values)]


def _number(value: float) -> tf.Tensor:
    """A tensor: a Python number would need a new graph for each value."""
    return tf.constant(value, tf.float32)


def _zeros_like(variable: tf.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(variable.shape), trainable=False)


def _one_a_replica(creator, **kwargs) -> tf.Variable:
    """Makes a variable that each replica has its own copy of."""
    if kwargs["initial_value"].dtype == tf.uint8:
        # The architecture's name, which is broadcast to all workers; uint8 cannot be.
        kwargs["initial_value"] = tf.cast(kwargs["initial_value"], tf.int32)
    kwargs["synchronization"] = tf.VariableSynchronization.ON_READ
    kwargs["aggregation"] = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return creator(**kwargs)
