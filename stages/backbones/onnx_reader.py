"""Read an ONNX network from a file, or from a folder with the network and its external weights."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from stages.base.errors import UserError, lacks_memory
from stages.base.terminal import format_size

_LARGEST = 2**31 - 2**20  # bytes: the limit of protobuf, minus room for what Thaw adds
_KINDS = {  # by their first bytes
    b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull` where it was cloned, and copy it again",
    b"<": "a web page: download the file itself",
    b"PK": "a zip archive, perhaps a PyTorch .pt file: export the network with torch.onnx.export",
    b"\x89HDF": "an HDF5 file: name it .h5",
}


def read_onnx(path: Path, folder: bool) -> onnx.ModelProto:
    """Read a network.

    Args:
        path: of the file.
        folder: whether the source is its folder, so that external weights may be read.

    Raises:
        UserError: it is damaged, too large, newer than the installed library, or incomplete.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        if not model.graph.node:
            raise ValueError("it contains no network")
    except Exception as error:
        if lacks_memory(error) or isinstance(error, OSError):
            raise
        raise UserError(f"{path}: expected an ONNX network; {_describe(path)}.") from None
    _refuse_newer(path, model)
    _check_nodes(path, model.graph)
    try:
        names = sorted({ExternalDataInfo(tensor).location for tensor in _tensors(model) if uses_external_data(tensor)})
    except ValueError as error:
        raise UserError(f"{path}: it does not say where its weights are ({error}). Export it again.") from None
    if names and not folder:
        raise UserError(
            f"{path}: its weights are in {', '.join(names)}. Move both into a folder and set pretrain.source to the "
            f"folder, or export it with external_data=False."
        )
    if outside := [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]:
        raise UserError(f"{path}: expected its weights in its folder; received {', '.join(outside)}. Export it again.")
    files = [path, *(path.parent / name for name in names)]
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{path}: expected its weights next to it, in {', '.join(missing)}; there is no such file.")
    if (size := sum(file.stat().st_size for file in files)) > _LARGEST:
        raise UserError(
            f"{path}: expected a network of less than {format_size(_LARGEST)}, the limit of ONNX files; received "
            f"{format_size(size)}. Use a smaller one, or export it in float16."
        )
    for tensor in filter(uses_external_data, _tensors(model)):
        _load_weights(tensor, path)
    return model


def _load_weights(tensor: onnx.TensorProto, path: Path) -> None:
    """Load a tensor from a file in the network's folder.

    onnx's own function refuses links, and DVC can store data as links to its cache.
    """
    info = ExternalDataInfo(tensor)
    with (path.parent / info.location).open("rb") as file:
        file.seek(info.offset or 0)
        tensor.raw_data = file.read(-1 if info.length is None else info.length)
    if info.length is not None and len(tensor.raw_data) < info.length:
        raise UserError(f"{path}: {info.location} is cut off: it ends within {tensor.name}. Copy it again.")
    tensor.data_location = onnx.TensorProto.DEFAULT
    tensor.ClearField("external_data")


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield all tensors that ``load_external_data_for_model`` loads."""
    yield from model.graph.initializer
    yield from _attributes(chain(model.graph.node, *(function.node for function in model.functions)))


def _attributes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in chain.from_iterable(node.attribute for node in nodes):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from chain(graph.initializer, _attributes(graph.node))


def _refuse_newer(path: Path, model: onnx.ModelProto) -> None:
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    newest = onnx.defs.onnx_opset_version()
    if opset > newest or model.ir_version > onnx.IR_VERSION:
        raise UserError(
            f"{path}: expected ONNX opset {newest} and IR version {onnx.IR_VERSION}, or older; received opset "
            f"{opset} and IR version {model.ir_version}. Export it with opset_version=18."
        )


def _check_nodes(path: Path, graph: onnx.GraphProto) -> None:
    texts = [text for node in graph.node for text in (node.op_type, node.domain, *node.input, *node.output)]
    texts += [one.name for one in (*graph.initializer, *graph.input, *graph.output)]
    if any(isinstance(text, bytes) for text in texts):  # protobuf's type for text that is not UTF-8
        raise UserError(f"{path}: expected operators and tensors with names in UTF-8. Copy or export it again.")
    counts = Counter(name for node in graph.node for name in node.output if name)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise UserError(
            f"{path}: expected one operator for each tensor; several operators output {', '.join(twice[:3])}. Copy or "
            f"export it again."
        )


def _describe(path: Path) -> str:
    """Describe the content of a file that is not an ONNX network."""
    with path.open("rb") as file:
        start = file.read(512).lstrip()
    for beginning, kind in _KINDS.items():
        if start.startswith(beginning):
            return f"it is {kind}"
    size = f"{path.stat().st_size:,} bytes"
    return f"it is truncated or another format ({size}, beginning with {start[:8]!r}). Copy it again"
