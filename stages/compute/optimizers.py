"""Optimizers whose step size may differ from variable to variable, and how it goes on over the epochs."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True)
class Rule:
    """How gradients become steps.

    Attributes:
        name: ``adam`` (Kingma & Ba 2015), ``adamw`` (Loshchilov & Hutter 2019) or ``sgd`` (momentum, not Nesterov's).
        momentum: of sgd.
        weight_decay: of adamw; biases and the scales and offsets of normalization do not decay.
        clip_norm: gradients of a larger global norm are scaled down to it (Pascanu et al. 2013); 0: never.
    """

    name: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float = 0.0


@dataclass(frozen=True)
class Rates:
    """The learning rate over the epochs of a phase.

    Attributes:
        peak: the highest.
        epochs: of the phase.
        kind: ``constant``, or ``cosine``: from the peak down to 0 (Loshchilov & Hutter 2017).
        warmup: epochs in which it first rises to the peak, step by step (Goyal et al. 2017).
    """

    peak: float
    epochs: int
    kind: str = "constant"
    warmup: int = 0

    def at(self, step: int, steps: int) -> float:
        """Return the rate of ``step``, counted from 0 through the phase, of ``steps`` an epoch."""
        warm, total = self.warmup * steps, self.epochs * steps
        if step < warm:
            return self.peak * (step + 1) / warm
        if self.kind == "constant":
            return self.peak
        return self.peak * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2


class _ByVariable:
    """Goes before a Keras optimizer: each variable's learning rate is the optimizer's times a factor of its own."""

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
        """Leave it to ``update_step``, which knows the factor and, with several devices, runs on each."""


class _Adam(_ByVariable, keras.optimizers.Adam):
    pass


class _AdamW(_ByVariable, keras.optimizers.AdamW):
    pass


class _SGD(_ByVariable, keras.optimizers.SGD):
    pass


def optimizer(rule: Rule, factors: Mapping[int, float]) -> keras.optimizers.Optimizer:
    """Return the optimizer of a rule, with no learning rate set yet.

    Args:
        factors: of the learning rate, by ``id`` of the variable; 1 for those that are not there.
    """
    options: dict[str, Any] = {"factors": factors, "learning_rate": 0.0, "name": rule.name}
    if rule.clip_norm:
        options["global_clipnorm"] = rule.clip_norm
    if rule.name == "sgd":
        return _SGD(momentum=rule.momentum, **options)
    if rule.name == "adamw":
        return _AdamW(weight_decay=rule.weight_decay, **options)
    return _Adam(**options)


def by_depth(backbone: keras.Model, decay: float, blocks: Mapping[str, str]) -> dict[int, float]:
    """Return the factors of ``optimizer`` that lower the learning rate from block to block, from the head down.

    ULMFiT's discriminative fine-tuning (Howard & Ruder 2018, with a decay of 1/2.6): the head learns with the full
    rate, the last block with ``decay`` times that, the one before with ``decay`` squared, and so on.

    Args:
        blocks: names of the blocks, each with its first layer, from the input on. What lies before the first is a block
            too. Where there are none, each layer with weights is one.
    """
    layers = [layer for layer in backbone.layers if layer.weights]
    places = {layer.name: place for place, layer in enumerate(backbone.layers)}
    starts = sorted(places[name] for name in (blocks.values() or [layer.name for layer in layers]))
    depths = [bisect_right(starts, places[layer.name]) for layer in layers]
    top = max(depths, default=0)
    return {
        id(variable): decay ** (top - depth + 1)
        for layer, depth in zip(layers, depths, strict=True)
        for variable in layer.variables
    }
