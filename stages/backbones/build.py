"""Make the backbone that the section ``pretrain`` names: of the table, or the network of one's own model."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.backbones.own_graph import read_own_graph
from stages.backbones.registry import find_backbone
from stages.backbones.source import find_source
from stages.compute.architecture import Architecture
from stages.schema.pretrain import SOURCE, Pretrain

if TYPE_CHECKING:
    from stages.backbones.pretrained import Pretrained
    from stages.compute.networks import Backbone


def describe_backbone(params: Pretrain) -> Architecture:
    """Return the architecture of what ``build_backbone`` builds, and raise what it raises.

    Args:
        params: the section ``pretrain``.
    """
    return build_backbone(params)[0]


def build_backbone(params: Pretrain) -> "tuple[Architecture, Backbone | None]":
    """Return the backbone's architecture, and the network: one of the table has random weights and needs no file.

    Args:
        params: the section ``pretrain``.

    Returns:
        None for the network of a backbone that is a graph.

    Raises:
        UserError: there is no such backbone, or it does not take such images.
    """
    if params.backbone == SOURCE:
        source = find_source(params)
        if source.is_graph:
            return read_own_graph(params, source).architecture, None
        backbone = read_own_model(params, source.path).backbone
    else:
        backbone = find_backbone(params.backbone, params.image_size).build(params.image_size)
    return backbone.architecture, backbone


def read_own_model(params: Pretrain, path: Path) -> "Pretrained":
    """Return the network in a file as a backbone, with its classifier.

    Args:
        params: the section ``pretrain``.
        path: of a whole model.

    Raises:
        UserError: it cannot be read, or is no network of images as ``params`` say.
    """
    from stages.backbones.own_keras import read_own_keras  # here: it imports the framework

    return read_own_keras(params, path)
