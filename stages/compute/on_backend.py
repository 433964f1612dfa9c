"""What the Keras backend computes with: ``Forward`` (a network in inference) and ``TrainStep`` (of a training)."""

from stages.compute.runtime import backend_name

if backend_name() == "jax":
    from stages.compute.on_jax import Forward, TrainStep
else:
    from stages.compute.on_tensorflow import Forward, TrainStep  # type: ignore[assignment]

__all__ = ["Forward", "TrainStep"]
