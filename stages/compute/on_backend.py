"""What the Keras backend computes with: ``Forward`` (a network in inference) and ``Steps`` (of a training)."""

import keras

if keras.backend.backend() == "jax":
    from stages.compute.on_jax import Forward, Steps
else:
    from stages.compute.on_tensorflow import Forward, Steps  # type: ignore[assignment]

__all__ = ["Forward", "Steps"]
