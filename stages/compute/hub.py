"""Networks of KerasHub, which is an optional library, as ONNX graphs."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from stages.base.errors import UserError, summarize
from stages.compute.graphs.convert import check_graph, convert
from stages.compute.networks import Model
from stages.compute.runtime import ensure_started, keras

_LONGEST = 200  # characters of a reason


def convert_preset(folder: Path, side: int) -> onnx.ModelProto:
    """Return the backbone in a preset as an ONNX model, from preprocessed images to its output.

    Args:
        folder: that ``save_to_preset`` wrote.
        side: of the images, in pixels.

    Raises:
        UserError: KerasHub is not installed, the preset cannot be read, or it is no network of such images.
    """
    if find_spec("keras_hub") is None:
        raise UserError(f"pretrain.source: {folder} is a preset of KerasHub. Run `pip install -e '.[hub]'`.")
    ensure_started()
    backbone = _read(folder, side)
    network = keras.Model(backbone.inputs[0], {"output": backbone.output})
    try:
        graph = convert(network)
    except UserError:
        raise
    except Exception as error:  # of layers that were not made to be taken apart
        raise UserError(
            f"{folder}: expected a ViT or DINOv2 of KerasHub; {type(backbone).__name__} cannot be written as an ONNX "
            f"graph ({summarize(error)[:_LONGEST]})."
        ) from None
    shape = network.input_shape[1:]
    check_graph(graph, folder.name, np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32), network)
    return graph


def _read(folder: Path, side: int) -> Model:
    import keras_hub  # here: it is optional

    own: Any = keras_hub.models.Backbone
    try:
        backbone = own.from_preset(str(folder))
        shape = backbone.inputs[0].shape[1:]
        if tuple(shape[:2]) != (side, side):
            taken = shape[0]
            try:  # DINOv2 interpolates the embeddings of positions
                return own.from_preset(str(folder), image_shape=(side, side, shape[-1]))
            except Exception:
                raise UserError(
                    f"pretrain.image_size: the network in {folder} takes images of {taken} pixels; received {side}."
                ) from None
        return backbone
    except UserError:
        raise
    except Exception as error:  # of a folder that may hold anything
        raise UserError(
            f"{folder}: expected a preset of KerasHub; it cannot be read ({summarize(error)[:_LONGEST]})."
        ) from None
