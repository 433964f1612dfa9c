"""Make a backbone of a preset of KerasHub: a folder that ``save_to_preset`` wrote."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.backbones.keras_backbone import adopt_network
from stages.backbones.pixel_scaling import describe_found, find_scaling, to_preprocessing
from stages.backbones.pretrained import Pretrained
from stages.base.errors import UserError
from stages.base.files import refuse_damaged
from stages.base.hdf5 import check_hdf5
from stages.base.terminal import say
from stages.compute.graphs.convert import convert
from stages.compute.graphs.shapes import find_largest
from stages.compute.hub import require_hub
from stages.compute.keras_configs import LIBRARIES, refuse_code
from stages.compute.networks import Model
from stages.schema.pretrain import Pretrain

_FAMILIES = ("keras_hub>ViTBackbone", "keras_hub>DINOV2Backbone")
_AGAIN = "Copy or save it again."


def read_preset_backbone(params: Pretrain, folder: Path) -> Pretrained:
    """Return the network in a preset as a backbone: its embeddings, blocks and last normalization are layers.

    Args:
        params: the section ``pretrain``.
        folder: of the preset.

    Raises:
        UserError: KerasHub is not installed, the preset cannot be read, or it is no network of such images.
    """
    with refuse_damaged(folder, "a preset of KerasHub", _AGAIN):
        scaling = to_preprocessing(find_scaling(params.pixels, folder).scaling)
        hub = require_hub(f"pretrain.source: {folder} is a preset of KerasHub")
        _check_files(folder)
        model = _read(hub, folder, params.image_size)
        try:
            graph = convert(model)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from None
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


def _check_files(folder: Path) -> None:
    """Refuse other families, custom code, and weights that are missing, too few or unreadable."""
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    if (name := content["registered_name"]) not in _FAMILIES:
        raise UserError(f"{path}: expected {' or '.join(_FAMILIES)}; received {name}. Choose another preset.")
    refuse_code(path, content, (*LIBRARIES, "keras_hub"))
    files = [folder / name for name in _name_weights(folder)]
    if missing := [file for file in files if file.parent != folder or not file.is_file()]:
        raise UserError(f"{folder}: expected its weights in {missing[0].name}; there is no such file. {_AGAIN}")
    for file in files:
        check_hdf5(file)
    size = sum(file.stat().st_size for file in files)
    blocks, width = content["config"]["num_layers"], content["config"]["hidden_dim"]
    if 4 * blocks * width**2 > size:  # of attention alone, in bytes if a number takes only one
        raise UserError(
            f"{folder}: expected weights for {blocks:,} blocks of width {width:,}, as its config says; received only "
            f"{size:,} bytes. {_AGAIN}"
        )


def _name_weights(folder: Path) -> list[str]:
    whole, index = folder / "model.weights.h5", folder / "model.weights.json"
    if whole.is_file() or not index.is_file():
        return [whole.name]
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return sorted({each for name in names for each in (name if isinstance(name, list) else [name])})


def _read(hub: Any, folder: Path, side: int) -> Model:
    """Return the backbone in a preset, from preprocessed images of ``side`` pixels to its output."""
    read, place = hub.models.Backbone.from_preset, str(folder.absolute())  # a name alone may be one to download
    backbone = read(place)
    taken = tuple(backbone.inputs[0].shape[1:])
    if taken[:2] != (side, side):
        try:  # DINOv2 interpolates embeddings of positions
            backbone = read(place, image_shape=(side, side, taken[-1]))
        except Exception:
            raise UserError(
                f"pretrain.image_size: the network in {folder} takes images of {taken[0]} pixels; received {side}. "
                f"Set it to {taken[0]}."
            ) from None
    if rate := getattr(backbone, "drop_path_rate", 0.0):
        say(f"stochastic depth (drop_path_rate: {rate:g}) is left out: KerasHub cannot train it")
    return Model(backbone.inputs[0], backbone.output)
