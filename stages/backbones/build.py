"""Build the backbone that the section ``pretrain`` names: a built-in one, or the network of the user's own model."""

from typing import TYPE_CHECKING

from stages.backbones.onnx_backbone import read_onnx_backbone
from stages.backbones.registry import find_backbone
from stages.backbones.source import Source, find_source
from stages.compute.architecture import Architecture
from stages.schema.pretrain import SOURCE, Pretrain

if TYPE_CHECKING:
    from stages.backbones.pretrained import Pretrained
    from stages.compute.networks import Backbone


def describe_backbone(params: Pretrain) -> Architecture:
    """Return the architecture of the backbone; raises what ``build_backbone`` raises.

    Args:
        params: the section ``pretrain``.
    """
    return build_backbone(params)[0]


def build_backbone(params: Pretrain) -> "tuple[Architecture, Backbone | None]":
    """Return the backbone's architecture, and the network. A built-in backbone has random weights and needs no file.

    Args:
        params: the section ``pretrain``.

    Returns:
        The network is None if the backbone is an ONNX graph.

    Raises:
        UserError: there is no such backbone, or it does not accept these images.
    """
    if params.backbone == SOURCE:
        source = find_source(params)
        if source.is_graph:
            return read_onnx_backbone(params, source).architecture, None
        backbone = read_network(params, source).backbone
    else:
        backbone = find_backbone(params.backbone, params.image_size).build(params.image_size)
    return backbone.architecture, backbone


def read_network(params: Pretrain, source: Source) -> "Pretrained":
    """Return the network in a file of Keras or a preset of KerasHub as a backbone, with its classifier.

    Args:
        params: the section ``pretrain``.
        source: what ``params.source`` is.

    Raises:
        UserError: it cannot be read, or is no network of images as ``params`` say.
    """
    # Here: they import the framework.
    from stages.backbones.keras_backbone import read_keras_backbone
    from stages.backbones.preset_backbone import read_preset_backbone

    read = read_preset_backbone if source.kind == "keras_hub" else read_keras_backbone
    return read(params, source.path)
