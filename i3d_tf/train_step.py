"""Training in TensorFlow; the twin of `i3d_torch/train_step.py`.

`common/training/optim.py` has the interface and the update rule. Variables are where the strategy
puts them.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from common import arch, hardware
from common.arch import Arrays
from common.preprocessing.contracts import InputContract
from common.training import optim
from common.training.data import Batch
from common.training.optim import StepResult
from common.training.recipes import Recipe
from convert.arrays import from_canonical, to_canonical
from i3d_tf import batch_norm, losses, weights
from i3d_tf.model import VideoModel
from i3d_tf.optimize import training_model
from i3d_tf.predictor import Predictor


class TrainStep:
    """A `common.training.optim.TrainStep`.

    Each of several replicas has its own variables, whose values stay equal because all take the
    same steps: their gradients are summed once a step. Only the running statistics differ, unless
    they are synchronised; those of the first replica count.
    """

    def __init__(
        self,
        net: arch.Network,
        arrays: Arrays,
        recipe: Recipe,
        contract: InputContract,
        distributed: tf.distribute.Strategy | None = None,
    ):
        """Makes a model with its weights.

        Args:
            net: The network.
            arrays: The first weights, exactly the network's, by canonical name.
            recipe: How to train.
            contract: What the network expects of clips.
            distributed: The replicas that train together, a MirroredStrategy or a
                MultiWorkerMirroredStrategy; None trains alone.

        Raises:
            CheckpointError: The arrays are not the network's.
            ValueError: The recipe trains from an endpoint that the network does not have.
        """
        self.net = net = optim.configured(net, recipe)
        self.recipe = recipe
        self.strategy = strategy = distributed or tf.distribute.get_strategy()
        self.replicas = strategy.num_replicas_in_sync
        self.local = _local_replicas(strategy)
        self.scaler = optim.Scaler()
        self.decayed = optim.decayed(net, recipe)
        with strategy.scope(), tf.variable_creator_scope(_one_a_replica):
            self.model = training_model(net, recipe.recompute)
            batch_norm.set_mode(self.model, optim.batch_norm_mode(recipe, self.replicas))
            for name in optim.frozen_nodes(net, recipe):
                batch_norm.set_mode(self.model.layers[name], "freeze")
            own = weights.variables(self.model)
            self.layouts = {p.name: weights.layout(p) for p in optim.trained(net, recipe)}
            self.trained = {name: own[name] for name in self.layouts}
            self.momentum = {name: _zeros_like(p) for name, p in self.trained.items()}
            self.gradients = {name: _zeros_like(p) for name, p in self.trained.items()}
            self.measured = tf.Variable(tf.zeros([2]), trainable=False)
            self.average = VideoModel(net) if recipe.average_decay else None
        self.training = Predictor(self.model, contract, recipe.precision)
        self.predictor = Predictor(self.average or self.model, contract, recipe.precision)
        self.assign(arrays)

    def step(self, batches: Sequence[Batch], rate: float) -> StepResult:
        """See `common.training.optim.TrainStep`."""
        share = 1 / (len(batches) * self.replicas)
        self._start()
        out_of_memory = tf.errors.ResourceExhaustedError
        with hardware.explained(out_of_memory, batches[0].clips, hardware.TRAINING):
            for batch in batches:
                self._accumulate(*self._inputs(batch), _number(share), _number(self.scaler.scale))
            measured, norm = self._over_replicas()
        loss, correct = measured.numpy().tolist()
        found, factor, self.scaler = optim.check_step(
            self.recipe, self.scaler, loss, norm.numpy().item(), correct
        )
        if factor is not None:
            self._update(_number(rate), _number(factor))
        return found

    def state(self) -> dict[str, np.ndarray]:
        """See `common.training.optim.TrainStep`."""
        momentum = {
            name: np.ascontiguousarray(to_canonical(v.numpy(), self.layouts[name]))
            for name, v in self.momentum.items()
        }
        average = weights.arrays(self.average) if self.average else None
        state = optim.State(weights.arrays(self.model), momentum, average, self.scaler)
        return state.to_arrays(self.recipe)

    def restore(self, arrays: Arrays) -> None:
        """See `common.training.optim.TrainStep`."""
        state = optim.State.from_arrays(self.net, self.recipe, arrays)
        weights.assign(self.model, state.model)
        for name, velocity in self.momentum.items():
            velocity.assign(from_canonical(state.momentum[name], self.layouts[name]))
        if self.average:
            weights.assign(self.average, state.average)
        self.scaler = state.scaler

    def assign(self, arrays: Arrays) -> None:
        """Sets the weights, exactly the network's; raises `CheckpointError` for others."""
        weights.assign(self.model, arrays)
        if self.average:
            weights.assign(self.average, arrays)

    @tf.function(autograph=False)
    def _start(self) -> None:
        """Zeroes the gradients."""

        def start() -> None:
            for sums in (*self.gradients.values(), self.measured):
                sums.assign(tf.zeros_like(sums))

        self.strategy.run(start)

    @tf.function(autograph=False)
    def _accumulate(
        self,
        clips: tf.Tensor,
        targets: tf.Tensor,
        dropout: tf.Tensor | None,
        share: tf.Tensor,
        scale: tf.Tensor,
    ) -> None:
        """Adds a micro-batch's gradient times `share * scale`, its loss and share correct."""

        def accumulate(clips: tf.Tensor, targets: tf.Tensor, dropout: tf.Tensor | None) -> None:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(list(self.trained.values()))
                logits = self.training.time_steps(clips, dropout, is_training=True)
                if self.recipe.task == "frames":
                    loss = losses.frames(losses.frame_logits(logits, clips.shape[1]), targets)
                    correct = tf.zeros([])
                else:
                    logits = tf.reduce_mean(logits, axis=1)
                    loss = losses.classes(logits, targets, self.recipe.label_smoothing)
                    correct = losses.correct(logits, targets)
                scaled = loss * (share * scale)
            gradients = tape.gradient(scaled, list(self.trained.values()))
            for sums, gradient in zip(self.gradients.values(), gradients, strict=True):
                sums.assign_add(gradient)
            self.measured.assign_add(share * tf.stack([loss, correct]))

        self.strategy.run(accumulate, args=(clips, targets, dropout))

    @tf.function(autograph=False)
    def _over_replicas(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Sums the gradients over all replicas; returns what is measured, and their norm."""

        def reduce() -> tuple[tf.Tensor, tf.Tensor]:
            own = [self.measured, *self.gradients.values()]
            if self.replicas == 1:
                measured, *summed = own
            else:
                context = tf.distribute.get_replica_context()
                measured, *summed = context.all_reduce("sum", [tf.identity(x) for x in own])
                for sums, total in zip(self.gradients.values(), summed, strict=True):
                    sums.assign(total)
            squares = tf.stack([tf.reduce_sum(tf.square(gradient)) for gradient in summed])
            return tf.identity(measured), tf.sqrt(tf.reduce_sum(squares))

        measured, norm = self.strategy.run(reduce)
        return self._first(measured), self._first(norm)

    @tf.function(autograph=False)
    def _update(self, rate: tf.Tensor, factor: tf.Tensor) -> None:
        """Steps down the gradients times `factor`, and averages the weights."""
        recipe = self.recipe

        def update() -> None:
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

        self.strategy.run(update)

    def _average(self, average: VideoModel) -> None:
        """Averages the trained parameters; copies the rest, running statistics included."""
        averages = weights.variables(average)
        for name, variable in weights.variables(self.model).items():
            if name in self.trained:
                share = 1 - self.recipe.average_decay
                averages[name].assign_add(share * (variable - averages[name]))
            else:
                averages[name].assign(tf.identity(variable))

    def _inputs(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Clips, targets and dropout, a slice of each for every replica in this process."""
        count = len(self.local)
        if len(batch.names) % count:
            raise ValueError(
                f"{count} replicas cannot share a micro-batch of {len(batch.names)} clips evenly."
                " Choose batch and accumulate so that they can."
            )

        def slices(array: np.ndarray | None) -> tf.Tensor | None:
            if array is None:
                return None
            parts = dict(zip(self.local, np.split(array, count), strict=True))
            return self.strategy.experimental_distribute_values_from_function(
                lambda replica: tf.constant(parts[replica.replica_id_in_sync_group])
            )

        dropout = optim.dropout(self.net, batch)
        return slices(batch.clips), slices(batch.targets), slices(dropout)

    def _first(self, value: tf.Tensor) -> tf.Tensor:
        """The first replica's value, where all are alike."""
        return self.strategy.experimental_local_results(value)[0]


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
