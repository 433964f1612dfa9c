"""Inference and training steps in TensorFlow, on one device or several; one graph takes several steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from stages.compute.runtime import keras


class Forward:
    """A network in inference, compiled. It reads the network's weights at each call.

    Args:
        network: with its weights.
    """

    def __init__(self, network: keras.Model) -> None:
        self._strategy = tf.distribute.get_strategy()

        # XLA made a MobileNetV2 13 times slower on a CPU.
        @tf.function(jit_compile=False, autograph=False)  # type: ignore[untyped-decorator]
        def run(rows: Any) -> list[Any]:
            outputs = self._strategy.run(lambda x: keras.tree.flatten(network(x, training=False)), (rows,))
            return [tf.concat(self._strategy.experimental_local_results(output), axis=0) for output in outputs]

        self._run = run

    def __call__(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for ``rows`` (n, ...); n is a multiple of the number of devices."""
        return [output.numpy() for output in self._run(_spread(self._strategy, rows, axis=0))]


class TrainStep:
    """Training steps of a model whose optimizer is built.

    Each of several devices computes the gradients of a part of each batch; the step uses their sum.

    Args:
        model: from inputs to logits.
    """

    def __init__(self, model: keras.Model) -> None:
        self._strategy = tf.distribute.get_strategy()
        variables = [variable.value for variable in model.trainable_variables]
        # Keras would clip the gradients of each device before it sums them; here they are summed first.
        model.optimizer._all_reduce_sum_gradients = lambda pairs: pairs

        def gradients(inputs: Any, targets: Any, weights: Any, step: Any) -> tuple[Any, Any]:
            y, weight = targets[step], weights[step]
            with tf.GradientTape() as tape:
                logits = model(inputs[step], training=True)
                losses = weight * tf.nn.softmax_cross_entropy_with_logits(y, logits)
                loss = tf.reduce_sum(losses)
            right = tf.argmax(y, axis=1) == tf.argmax(logits, axis=1)
            right = tf.reduce_sum(tf.cast(right & (weight > 0), tf.float32))
            return tape.gradient(loss, variables), tf.stack([loss, right])

        @tf.function(jit_compile=False, autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]
        def run(inputs: Any, targets: Any, weights: Any, rates: Any) -> Any:
            def body(step: Any, sums: Any) -> tuple[Any, Any]:
                model.optimizer.learning_rate.assign(rates[step])
                grads, found = self._strategy.run(gradients, (inputs, targets, weights, step))
                total = [self._strategy.reduce("SUM", grad, axis=None) for grad in grads]
                self._strategy.run(lambda: model.optimizer.apply(total, model.trainable_variables))
                return step + 1, sums.write(step, self._strategy.reduce("SUM", found, axis=None))

            count = tf.shape(rates)[0]
            sums = tf.TensorArray(tf.float32, count, element_shape=(2,))
            return tf.while_loop(lambda step, _: step < count, body, (0, sums), parallel_iterations=1)[1].stack()

        self._run = run

    def __call__(
        self, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, rates: Sequence[float]
    ) -> np.ndarray:
        """Take one step after the other.

        Args:
            inputs: (steps, n, ...); n is a multiple of the number of devices.
            targets: shares of each class, float32 (steps, n, classes).
            weights: of each row in the loss of its step, float32 (steps, n); 0 for padding.
            rates: the learning rate of each step.

        Returns:
            The loss of each step and how many rows were right, both before the step, float32 (steps, 2).
        """
        arrays = [_spread(self._strategy, array, axis=1) for array in (inputs, targets, weights)]
        sums: np.ndarray = self._run(*arrays, tf.constant(rates, tf.float32)).numpy()
        return sums


def _spread(strategy: Any, array: np.ndarray, axis: int) -> Any:
    """Return ``array`` divided among the devices along ``axis``."""
    if strategy.num_replicas_in_sync == 1:
        return tf.constant(array)
    parts = np.split(array, strategy.num_replicas_in_sync, axis)
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )
