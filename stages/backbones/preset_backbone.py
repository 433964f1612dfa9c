"""Make a backbone of a preset of KerasHub: a folder that ``save_to_preset`` wrote."""

from dataclasses import replace
from pathlib import Path

import onnx

from stages.backbones.keras_backbone import adopt_network
from stages.backbones.onnx_wrapper import find_largest
from stages.backbones.pixel_scaling import describe_found, find_scaling, to_preprocessing
from stages.backbones.pretrained import Pretrained
from stages.base.errors import UserError, summarize
from stages.base.terminal import say
from stages.compute.graphs.convert import convert
from stages.compute.hub import require_hub
from stages.compute.networks import Model
from stages.schema.pretrain import Pretrain


def read_preset_backbone(params: Pretrain, folder: Path) -> Pretrained:
    """Return the network in a preset as a backbone: its embeddings, blocks and last normalization are layers.

    Args:
        params: the section ``pretrain``.
        folder: of the preset.

    Raises:
        UserError: KerasHub is not installed, the preset cannot be read, or it is no network of such images.
    """
    scaling = to_preprocessing(find_scaling(params.pixels, folder).scaling)
    model = _read(folder, params.image_size)
    graph = _convert(model, folder)
    channels = model.input_shape[-1]
    preprocessing = {key: values * channels if len(values) == 1 else values for key, values in scaling.items()}
    own = adopt_network(params, folder, model, preprocessing)
    architecture = replace(own.backbone.architecture, of_hub=True, largest=find_largest(graph))
    return replace(own, backbone=replace(own.backbone, architecture=architecture))


def describe_preset(params: Pretrain, folder: Path) -> list[str]:
    """Return sentences on the pixels that the network takes.

    Args:
        params: the section ``pretrain``.
        folder: of the preset.
    """
    return describe_found(find_scaling(params.pixels, folder), params.image_size)


def _read(folder: Path, side: int) -> Model:
    """Return the backbone in a preset, from preprocessed images of ``side`` pixels to its output."""
    hub = require_hub(f"pretrain.source: {folder} is a preset of KerasHub")
    read = hub.models.Backbone.from_preset
    try:
        backbone = read(str(folder))
    except Exception as error:  # of a folder that may hold anything
        raise UserError(f"{folder}: expected a preset of KerasHub; it cannot be read ({summarize(error)}).") from None
    taken = tuple(backbone.inputs[0].shape[1:])
    if taken[:2] != (side, side):
        try:  # DINOv2 interpolates embeddings of positions
            backbone = read(str(folder), image_shape=(side, side, taken[-1]))
        except Exception:
            raise UserError(
                f"pretrain.image_size: the network in {folder} takes images of {taken[0]} pixels; received {side}. "
                f"Set it to {taken[0]}."
            ) from None
    if rate := getattr(backbone, "drop_path_rate", 0.0):
        say(f"stochastic depth (drop_path_rate: {rate:g}) is left out: KerasHub cannot train it")
    return Model(backbone.inputs[0], backbone.output)


def _convert(model: Model, folder: Path) -> onnx.ModelProto:
    """Return a network as a graph.

    Raises:
        UserError: a layer cannot be written.
    """
    try:
        return convert(model)
    except UserError as error:
        raise UserError(f"{folder}: expected a ViT or DINOv2 of KerasHub; {error}") from None
    except Exception as error:  # of layers that were not made to be taken apart
        raise UserError(
            f"{folder}: expected a ViT or DINOv2 of KerasHub; its network cannot be written as an ONNX graph "
            f"({summarize(error)})."
        ) from None
