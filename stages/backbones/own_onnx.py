"""Make the backbone of an ONNX network: a graph that later stages run, and cannot train."""

import json
from dataclasses import asdict
from pathlib import Path

from stages.backbones.adopt import Adopted, adopt
from stages.backbones.onnx_files import read_onnx
from stages.backbones.scaling import describe_scaling, find_scaling
from stages.base.errors import UserError
from stages.base.terminal import say
from stages.compute.architecture import GRAPH, NETWORK
from stages.compute.graphs.edit import write
from stages.schema.pretrain import AUTO, Pretrain


def read_own_onnx(params: Pretrain, path: Path) -> Adopted:
    """Return the network in an ONNX file as a graph from pixels to features, and say what was found.

    Args:
        params: the section ``pretrain``.
        path: of the file.

    Raises:
        UserError: it cannot be read or run, or ``params`` do not say what must be known.
    """
    folder = path.parent if Path(params.source).is_dir() else None
    found = find_scaling(params.pixels, folder)
    model = read_onnx(path, folder is not None)
    try:
        adopted = adopt(model, params.image_size, found.scaling, None if params.output == AUTO else params.output)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    network = adopted.architecture.layers[-1]
    say(f"{path.name}, {network.parameters:,} parameters; its output {adopted.output}; pixels 0-255 become")
    say(f"{describe_scaling(found.scaling)} ({found.origin})")
    if found.side not in (None, params.image_size):
        say(f"note: {found.origin} says {found.side} pixels, pretrain.image_size is {params.image_size}")
    return adopted


def write_own_onnx(folder: Path, adopted: Adopted) -> None:
    """Write ``network.json`` and ``backbone.onnx``, as ``stages.backbones.pretrained`` does of networks that train."""
    description = {"architecture": asdict(adopted.architecture), "backbone": None}
    (folder / NETWORK).write_text(json.dumps(description) + "\n", encoding="utf-8")
    write(adopted.graph, folder / GRAPH)
    metrics = {"parameters": adopted.architecture.layers[-1].parameters}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
