"""Build the backbone that the section ``pretrain`` names: a built-in one, or the network of the user's own model."""

from typing import TYPE_CHECKING

from stages.backbones.onnx_backbone import read_onnx_backbone
from stages.backbones.registry import find_backbone
from stages.backbones.source import Source, find_source
from stages.compute.architecture import Architecture
from stages.schema.pretrain import SOURCE, Pretrain

if TYPE_CHECKING:
    from stages.backbones.pretrained import Pretrained


def build_backbone(params: Pretrain) -> "tuple[Architecture, Pretrained | None]":
    """Return the backbone's architecture, and what ``build_pretrained`` returns; None if it is an ONNX graph.

    Args:
        params: the section ``pretrain``.

    Raises:
        UserError: there is no such backbone, or it does not accept these images.
    """
    source = find_source(params) if params.backbone == SOURCE else None
    if source and source.is_graph:
        return read_onnx_backbone(params, source).architecture, None
    pretrained = build_pretrained(params, source)
    return pretrained.backbone.architecture, pretrained


def build_pretrained(params: Pretrain, source: Source | None) -> "Pretrained":
    """Return the network of the user's own model with its classifier, or a built-in backbone with random weights.

    Args:
        params: the section ``pretrain``.
        source: what ``params.source`` is, but not an ONNX network; a built-in backbone needs none.

    Raises:
        UserError: there is no such backbone, its file cannot be read, or it does not accept these images.
    """
    # Here: they import the framework.
    from stages.backbones.keras_backbone import read_keras_backbone
    from stages.backbones.preset_backbone import read_preset_backbone
    from stages.backbones.pretrained import Pretrained

    if source and source.is_model:
        read = read_preset_backbone if source.kind == "keras_hub" else read_keras_backbone
        return read(params, source.path)
    return Pretrained(find_backbone(params.backbone, params.image_size).build(params.image_size))
