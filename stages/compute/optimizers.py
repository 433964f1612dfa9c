"""Optimizers whose learning rate can differ from variable to variable."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.compute.networks import Backbone
from stages.compute.runtime import keras


@dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer.

    Attributes:
        name: ``adam`` (Kingma & Ba 2015), ``adamw`` (Loshchilov & Hutter 2019) or ``sgd`` (momentum, not Nesterov's).
        momentum: SGD momentum.
        weight_decay: of adamw; biases, and scales and offsets of normalization layers do not decay.
        clip_norm: gradients of a larger global norm are scaled down to it (Pascanu et al. 2013); 0: never.
    """

    name: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float = 0.0


class _ByVariable:
    """Mixin for a Keras optimizer: each variable's learning rate is the optimizer's times a factor."""

    def __init__(self, factors: Mapping[int, float], **options: Any) -> None:
        super().__init__(**options)
        self._by_id, self._factors = dict(factors), list[float]()

    def build(self, variables: Sequence[keras.Variable]) -> None:
        self._factors = [self._by_id.get(id(variable), 1.0) for variable in variables]
        super().build(variables)  # type: ignore[misc]

    def _factor(self, variable: Any) -> float:
        return self._factors[self._get_variable_index(variable)]  # type: ignore[attr-defined]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = learning_rate * self._factor(variable)
        decay: float = self.weight_decay or 0.0  # type: ignore[attr-defined]
        if decay and len(variable.shape) > 1:
            self.assign_sub(variable, variable * keras.ops.cast(rate * decay, variable.dtype))  # type: ignore[attr-defined]
        super().update_step(gradient, variable, rate)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Do nothing: ``update_step`` knows the factor, and with several devices it runs on each."""


class _Adam(_ByVariable, keras.optimizers.Adam):
    pass


class _AdamW(_ByVariable, keras.optimizers.AdamW):
    pass


class _SGD(_ByVariable, keras.optimizers.SGD):
    pass


def build_optimizer(
    config: OptimizerConfig, variables: Sequence[Any], rate_factors: Mapping[int, float]
) -> keras.optimizers.Optimizer:
    """Return an optimizer for ``variables``, with no learning rate set yet.

    Args:
        config: which one.
        variables: that it updates.
        rate_factors: of the learning rate, by ``id`` of the variable; 1 for others.
    """
    options: dict[str, Any] = {"factors": rate_factors, "learning_rate": 0.0, "name": config.name}
    if config.clip_norm:
        options["global_clipnorm"] = config.clip_norm
    if config.name == "sgd":
        optimizer = _SGD(momentum=config.momentum, **options)
    elif config.name == "adamw":
        optimizer = _AdamW(weight_decay=config.weight_decay, **options)
    else:
        optimizer = _Adam(**options)
    optimizer.build(variables)
    return optimizer


def layer_decay_factors(backbone: Backbone, decay: float) -> dict[int, float]:
    """Return learning rate factors that decay from block to block, from the head down; see ``build_optimizer``.

    This is the discriminative fine-tuning of ULMFiT (Howard & Ruder 2018, with a decay of 1/2.6): the head learns with
    the full rate, the last block with ``decay`` times that, the one before with ``decay`` squared, and so on. Layers
    before the first block are a block too. In a backbone without blocks, each layer with weights is one.

    Args:
        backbone: with the names of its blocks.
        decay: 1 for the same rate everywhere.
    """
    model, blocks = backbone.model, backbone.architecture.blocks
    layers = [layer for layer in model.layers if layer.weights]
    places = {layer.name: place for place, layer in enumerate(model.layers)}
    starts = sorted(places[name] for name in (blocks.values() or [layer.name for layer in layers]))
    block_numbers = [bisect_right(starts, places[layer.name]) for layer in layers]
    last = max(block_numbers, default=0)
    return {
        id(variable): decay ** (last - number + 1)
        for layer, number in zip(layers, block_numbers, strict=True)
        for variable in layer.variables
    }
