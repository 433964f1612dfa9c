"""Layers of KerasHub, an optional library: taken apart into blocks that can be thawed, copied and saved."""

import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from stages.base.errors import UserError
from stages.compute.networks import Model
from stages.compute.runtime import keras

_OF_EVERY_LAYER = ("name", "trainable", "dtype")


def require_hub(what: str) -> Any:
    """Return KerasHub; once it is imported, Keras finds its classes.

    Args:
        what: needs it, for the message.

    Raises:
        UserError: it is not installed.
    """
    if find_spec("keras_hub") is None:
        raise UserError(f"{what}. Run `pip install -e '.[hub]'`.")
    import keras_hub

    return keras_hub


def is_of_hub(layer: Any) -> bool:
    """Whether a layer's class is KerasHub's."""
    return type(layer).__module__.split(".")[0] == "keras_hub"


def unfold(layer: Any) -> Model:
    """Return the layers inside a layer, such as the blocks of an encoder, as a model."""
    shape = layer.get_build_config()["input_shape"]
    inputs = keras.Input(shape[1:])
    return keras.Model(inputs, layer.call(inputs))


def complete_config(layer: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that ``from_config`` makes a layer of KerasHub from: its own may have too much or too little.

    Args:
        layer: of KerasHub.
        config: from its ``get_config``.
    """
    taken = inspect.signature(type(layer).__init__).parameters
    kept = {name: value for name, value in config.items() if name in (*taken, *_OF_EVERY_LAYER)}
    return {name: getattr(layer, name) for name in taken if hasattr(layer, name)} | kept


def copy_config(layer: Any) -> dict[str, Any]:
    """Return the config of a copy of a layer of KerasHub.

    DINOv2's embeddings of positions lose their last bits whenever they are saved for images of another side. So the
    copy's are for images of this side; and it has no mask token, which nothing here uses. Stochastic depth is left
    out: KerasHub's layer for it cannot be trained while the number of images is open.

    Args:
        layer: of KerasHub.
    """
    config = complete_config(layer, layer.get_config())
    if hasattr(layer, _POSITIONS):
        config |= {"position_embedding_shape": layer.image_shape, "use_mask_token": False}
    return config | ({"drop_path_rate": 0.0} if "drop_path_rate" in config else {})


_POSITIONS = "interpolated_position_embeddings"


def copy_weights(layer: Any, copy: Any) -> None:
    """Give a copy the weights of a layer, which ``copy_config`` may have changed."""
    if not hasattr(layer, _POSITIONS):
        copy.set_weights(layer.get_weights())
        return
    values = {weight.name: weight for weight in layer.weights}
    values["position_embeddings"] = values[_POSITIONS]
    for weight in copy.weights:
        weight.assign(values[weight.name])


def settle_positions(model: Model) -> None:
    """Copy trained embeddings of positions to where DINOv2 saves them: its own test for a change misses some."""
    for layer in model._flatten_layers():
        if hasattr(layer, _POSITIONS):
            layer.position_embeddings.assign(getattr(layer, _POSITIONS))
