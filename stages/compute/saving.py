"""Save and load networks: their architecture as plain values, their weights as HDF5."""

import json
from pathlib import Path
from typing import Any

from stages.base.files import refuse_damaged
from stages.compute.hub import complete_config, is_of_hub, require_hub, settle_positions
from stages.compute.networks import Model
from stages.compute.runtime import keras


def to_config(model: Model) -> dict[str, Any]:
    """Return the architecture of a model as plain values, for ``from_config``."""
    config: dict[str, Any] = json.loads(model.to_json())
    parts = {part["name"]: part for part in config["config"]["layers"]}
    for layer in filter(is_of_hub, model.layers):
        parts[layer.name]["config"] = complete_config(layer, parts[layer.name]["config"])
    return config


def from_config(config: dict[str, Any]) -> Model:
    """Return a model with new weights from what ``to_config`` returned.

    Raises:
        UserError: it has layers of KerasHub, which is not installed.
    """
    if any(part["module"].startswith("keras_hub") for part in config["config"]["layers"]):
        require_hub("the backbone is a network of KerasHub, and some of its layers are thawed or run in the framework")
    return keras.models.model_from_json(json.dumps(config))


def save_weights(model: Model, path: Path) -> None:
    """Write the weights of a model into a file NAME.weights.h5.

    On a full disk HDF5 would end the process with a segmentation fault. So plain bytes claim the space first.

    Args:
        model: any.
        path: of the file.

    Raises:
        OSError: there is not enough space.
    """
    megabytes = 1 + (4 * model.count_params() + 4096 * len(model.variables)) // 2**20
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(bytes(2**20))
    settle_positions(model)
    model.save_weights(path)


def load_weights(model: Model, path: Path) -> None:
    """Load what ``save_weights`` wrote into a model.

    Args:
        model: of the same architecture.
        path: of the file.

    Raises:
        UserError: the file is missing, damaged, or belongs to another model.
    """
    with refuse_damaged(path, f"the weights of {model.name}"):
        model.load_weights(path)
