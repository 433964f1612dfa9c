"""Presets of KerasHub, an optional library: folders that ``save_to_preset`` wrote."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from stages.base.errors import UserError, summarize

_LONGEST = 200  # characters of a reason


def is_preset(folder: Path) -> bool:
    """Whether a folder is a preset of KerasHub, by its ``config.json``."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and str(content.get("registered_name", "")).startswith("keras_hub>")


def convert_preset(folder: Path, side: int) -> onnx.ModelProto:
    """Return the backbone in a preset as an ONNX model, from preprocessed images to its output.

    Args:
        folder: of the preset.
        side: of the images, in pixels.

    Raises:
        UserError: KerasHub is not installed, the preset cannot be read, or it is no network of such images.
    """
    if find_spec("keras_hub") is None:
        raise UserError(f"pretrain.source: {folder} is a preset of KerasHub. Run `pip install -e '.[hub]'`.")
    # Here: they import the framework.
    from stages.compute.graphs.convert import check_graph, convert
    from stages.compute.networks import Model
    from stages.compute.runtime import ensure_started

    ensure_started()
    backbone = _read(folder, side)
    network = Model(backbone.inputs[0], {"output": backbone.output})
    try:
        graph = convert(network)
    except UserError as error:
        raise UserError(f"{folder}: expected a ViT or DINOv2 of KerasHub; {error}") from None
    except Exception as error:  # of layers that were not made to be taken apart
        raise UserError(
            f"{folder}: expected a ViT or DINOv2 of KerasHub; {type(backbone).__name__} cannot be written as an ONNX "
            f"graph ({summarize(error)[:_LONGEST]})."
        ) from None
    images = np.random.default_rng(0).normal(size=(2, *network.input_shape[1:])).astype(np.float32)
    check_graph(graph, folder.name, images, network)
    return graph


def _read(folder: Path, side: int) -> Any:
    """Return the backbone in a preset, for images of ``side`` pixels."""
    import keras_hub

    read = keras_hub.models.Backbone.from_preset
    try:
        backbone = read(str(folder))
    except Exception as error:  # of a folder that may hold anything
        reason = summarize(error)[:_LONGEST]
        raise UserError(f"{folder}: expected a preset of KerasHub; it cannot be read ({reason}).") from None
    taken = tuple(backbone.inputs[0].shape[1:])
    if taken[:2] == (side, side):
        return backbone
    try:
        return read(str(folder), image_shape=(side, side, taken[-1]))  # DINOv2 interpolates embeddings of positions
    except Exception:
        raise UserError(
            f"pretrain.image_size: the network in {folder} takes images of {taken[0]} pixels; received {side}. Set it "
            f"to {taken[0]}."
        ) from None
