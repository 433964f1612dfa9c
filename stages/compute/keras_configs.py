"""Read the configs of Keras models: refuse custom code, and convert those of Keras 2. Imports no framework."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.base.errors import UserError

LIBRARIES = ("keras", "tf_keras", "builtins")
_NETWORKS = ("Functional", "Model", "Sequential")


def refuse_code(path: Path, config: dict[str, Any], libraries: Sequence[str] = LIBRARIES) -> None:
    """Check that a config names only classes of libraries.

    Args:
        path: of its file, for messages.
        config: of a model, as Keras saves it.
        libraries: that are allowed.

    Raises:
        UserError: it contains custom code, or operations that Keras 3 cannot read.
    """
    for part in _parts(config):
        kind, inner = part["class_name"], part.get("config")
        name = inner.get("name", "") if isinstance(inner, dict) else str(inner)
        if kind in ("TFOpLambda", "SlicingOpLambda"):
            raise UserError(
                f"{path}: {name} ({kind}) is a TensorFlow operation between layers, such as preprocess_input, which "
                f"Keras 3 cannot read. Save the layers after it as a separate model, and set pretrain.pixels to what "
                f"it computed (docs/own_models.md shows how)."
            )
        packages = [each.split(">")[0] for each in (str(part.get("registered_name")), kind) if ">" in each]
        packages.append(str(part.get("module") or "keras").split(".")[0])
        if kind in ("Lambda", "__lambda__", "function") or not set(packages) <= set(libraries):
            raise UserError(
                f"{path}: {name} ({kind}) is custom code, which is not run. Replace it with built-in Keras layers, or, "
                f"if it preprocesses pixels, with pretrain.pixels, and save the model again."
            )


def upgrade(config: Any) -> Any:
    """Convert a config of Keras 2 to the form that Keras 3 reads."""
    if isinstance(config, list):
        return [upgrade(value) for value in config]
    if not isinstance(config, dict):
        return config
    config = {key: upgrade(value) for key, value in config.items()}
    kind, inner = config.get("class_name"), config.get("config")
    if isinstance(inner, dict):
        if kind == "DepthwiseConv2D" and inner.get("groups") == 1:
            del inner["groups"]
        if kind == "BatchNormalization" and isinstance(inner["axis"], list) and len(inner["axis"]) == 1:
            inner["axis"] = inner["axis"][0]
        if kind in _NETWORKS and "input_layers" in inner:
            _upgrade_nodes(inner)
        inner.pop("rng_type", None)  # of augmentation
    return config


def _upgrade_nodes(network: dict[str, Any]) -> None:
    """Convert references to nested models: Keras 3 counts their calls from 0, Keras 2 from 1."""
    inside = {layer["name"]: layer["class_name"] for layer in network["layers"] if layer["class_name"] in _NETWORKS}
    nodes = [node for layer in network["layers"] for node in layer["inbound_nodes"] if isinstance(node, list)]
    for reference in (each for node in nodes for each in node if isinstance(each, list) and each[0] in inside):
        reference[1] = max(0, reference[1] - 1)
    for key in ("input_layers", "output_layers"):
        if len(network[key]) == 1:  # [[name, 0, 0]]
            network[key] = network[key][0]
    outputs = network["output_layers"]
    for output in outputs if isinstance(outputs[0], list) else [outputs]:
        if inside.get(output[0]) == "Sequential":
            output[1] = max(0, output[1] - 1)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a config, recursively."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        for value in config.values():
            yield from _parts(value)
    elif isinstance(config, list):
        for value in config:
            yield from _parts(value)
