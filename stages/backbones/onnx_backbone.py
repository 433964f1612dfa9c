"""Read an ONNX network as a backbone. It is an ONNX graph, which cannot be thawed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from stages.backbones.onnx_reader import read_onnx
from stages.backbones.onnx_wrapper import wrap_network
from stages.backbones.pixel_scaling import describe_found, find_scaling
from stages.backbones.source import Source
from stages.base.errors import UserError
from stages.base.files import refuse_damaged, write_json
from stages.base.terminal import say
from stages.compute.architecture import GRAPH, NETWORK, Architecture
from stages.compute.graphs.edit import write
from stages.schema.pretrain import AUTO, Pretrain


@dataclass(frozen=True)
class OnnxBackbone:
    """A backbone that is an ONNX graph.

    Attributes:
        graph: from pixels to features, once for each pooling.
        architecture: an input and one layer.
        lines: describe what was read, for the user.
    """

    graph: onnx.ModelProto
    architecture: Architecture
    lines: list[str]


def read_onnx_backbone(params: Pretrain, source: Source) -> OnnxBackbone:
    """Return the network in an ONNX file as a graph from pixels to features.

    Args:
        params: the section ``pretrain``.
        source: what ``params.source`` is.

    Raises:
        UserError: it cannot be read or run, or ``params`` leave something undefined.
    """
    path, side = source.path, params.image_size
    folder = Path(params.source) if Path(params.source).is_dir() else None
    found = find_scaling(params.pixels, folder)
    with refuse_damaged(path, "an ONNX network", "Copy or export it again."):
        model = read_onnx(path, folder is not None)
        try:
            wrapped = wrap_network(model, side, found.scaling, None if params.output == AUTO else params.output)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    network, (height, width, channels) = wrapped.architecture.layers[-1], wrapped.architecture.pixels
    lines = [
        f"{path.name}, {network.parameters:,} parameters: input {height} x {width} x {channels}, output "
        f"{wrapped.output}",
        *describe_found(found, side),
    ]
    return OnnxBackbone(wrapped.graph, wrapped.architecture, lines)


def write_onnx_backbone(folder: Path, own: OnnxBackbone) -> None:
    """Print ``own.lines``, and write ``network.json`` and ``backbone.onnx`` like ``stages.backbones.pretrained``."""
    for line in own.lines:
        say(line)
    description = {"architecture": asdict(own.architecture), "backbone": None}
    (folder / NETWORK).write_text(json.dumps(description) + "\n", encoding="utf-8")
    write(own.graph, folder / GRAPH)
    write_json(folder / "metrics.json", {"parameters": own.architecture.layers[-1].parameters})
