"""Inference and training steps in JAX, on one device or several."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stages.compute.runtime import keras


class Forward:
    """See ``stages.compute.on_tensorflow.Forward``."""

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        self._run = jax.jit(
            lambda trainable, others, rows: keras.tree.flatten(
                network.stateless_call(trainable, others, rows, training=False)[0]
            )
        )

    def __call__(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for ``rows`` (n, ...); n is a multiple of the number of devices."""
        return [np.asarray(output) for output in self._run(*_values(self._network), _spread(rows))]


class TrainStep:
    """See ``stages.compute.on_tensorflow.TrainStep``."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        rates = [variable is model.optimizer._learning_rate for variable in model.optimizer.variables].index(True)

        def loss(trainable: Any, others: Any, inputs: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
            logits, others = model.stateless_call(trainable, others, inputs, training=True)
            losses = weights * -jnp.sum(targets * jax.nn.log_softmax(logits), axis=1)
            right = (jnp.argmax(targets, 1) == jnp.argmax(logits, 1)) & (weights > 0)
            return jnp.sum(losses), (others, jnp.sum(right.astype(jnp.float32)))

        # A compiled loop over all steps would use one thread of a CPU.
        @jax.jit  # type: ignore[untyped-decorator]
        def step(state: Any, rate: Any, *batch: Any) -> Any:
            trainable, others, optimizer = state
            (value, (others, right)), grads = jax.value_and_grad(loss, has_aux=True)(trainable, others, *batch)
            optimizer = [rate if place == rates else old for place, old in enumerate(optimizer)]
            trainable, optimizer = model.optimizer.stateless_apply(optimizer, grads, trainable)
            return (list(trainable), list(others), list(optimizer)), jnp.stack([value, right])

        self._step = step

    def __call__(
        self, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, rates: Sequence[float]
    ) -> np.ndarray:
        """Take one step after the other; see ``stages.compute.on_tensorflow.TrainStep``."""
        model, sums = self._model, []
        state = (*_values(model), [variable.value for variable in model.optimizer.variables])
        for batch in zip(np.asarray(rates, np.float32), inputs, targets, weights, strict=True):
            state, found = self._step(state, batch[0], *map(_spread, batch[1:]))
            sums.append(found)
        groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
        for group, values in zip(groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        return np.stack([np.asarray(found) for found in sums])


def _values(model: keras.Model) -> tuple[list[Any], list[Any]]:
    groups = model.trainable_variables, model.non_trainable_variables
    return tuple([variable.value for variable in group] for group in groups)  # type: ignore[return-value]


def _spread(array: np.ndarray) -> Any:
    """Return ``array`` with its rows divided among the devices."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return array
    mesh = distribution.device_mesh.backend_mesh
    rows = jax.sharding.PartitionSpec(mesh.axis_names[0])
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, rows))
