"""Find out what ``pretrain.source`` is (a data set, weights or a whole model), and check the other keys against it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py

from stages.base.errors import UserError
from stages.base.hdf5 import check_hdf5
from stages.schema.pretrain import AUTO, SOURCE, Pretrain
from stages.sources.archives import is_archive

Kind = Literal["data_set", "weights", "keras", "onnx", "keras_hub"]

# Weights in unsupported formats, and the file in the folder of a SavedModel.
OTHER_WEIGHTS = (".ckpt", ".hdf5", ".npz", ".pb", ".pkl", ".pt", ".pth", ".safetensors", ".tflite")
_KNOWN = (".h5", ".keras", ".onnx")
_UNREADABLE = (
    "pretrain.source: expected a data set, an archive of one, a whole model as NAME.keras, NAME.h5 or NAME.onnx, or "
    "weights without classifier as NAME.h5 (layout of keras.applications) or NAME.weights.h5 (Keras 3); received {}. "
    "Save the model with `model.save('NAME.keras')` or `torch.onnx.export(…)` (docs/own_models.md), or its weights "
    "with `model.save_weights('NAME.weights.h5')`."
)


@dataclass(frozen=True)
class Source:
    """What ``pretrain.source`` is.

    Attributes:
        kind: of ``path``; ``keras``, ``onnx`` and ``keras_hub`` (a preset) are whole models.
        path: a folder or a file.
    """

    kind: Kind
    path: Path

    @property
    def is_model(self) -> bool:
        """Whether it is a whole model: the network and its weights."""
        return self.kind in ("keras", "keras_hub", "onnx")

    @property
    def is_graph(self) -> bool:
        """Whether it is an ONNX graph, which cannot be thawed."""
        return self.kind == "onnx"


def find_source(params: Pretrain) -> Source:
    """Return what ``params.source`` is.

    Raises:
        UserError: there is no source, more than one model or weights file, an unsupported format, or a source that
            contradicts the other keys.
    """
    source = _find(Path(params.source), params.backbone == SOURCE)
    path = source.path
    if params.backbone != SOURCE:
        if source.is_model:
            raise UserError(
                f"pretrain.backbone: {path} is a whole model, not weights without classifier for {params.backbone}. "
                f"Set pretrain.backbone: {SOURCE} to use its network."
            )
        for key in ("pixels", "output", "classes"):
            if getattr(params, key) != AUTO:
                raise UserError(
                    f"pretrain.{key}: expected {AUTO} with the built-in backbone {params.backbone}; received "
                    f"{getattr(params, key)}. Other values require pretrain.backbone: {SOURCE}."
                )
    elif source.kind == "weights":
        raise UserError(
            f"pretrain.source: {path} contains weights without a network. Save the whole model with "
            f"`model.save('NAME.keras')`, or set pretrain.backbone to the built-in backbone that they belong to."
        )
    elif source.kind == "data_set":
        raise UserError(
            f"pretrain.source: expected a whole model, NAME.keras, NAME.h5 or NAME.onnx, or a folder with one, for "
            f"pretrain.backbone: {SOURCE}; received {path}. `python -m stages backbones` lists networks that "
            f"pretrain can train on a data set."
        )
    elif source.kind != "keras" and params.classes != AUTO:
        raise UserError(
            f"pretrain.classes: expected {AUTO}, because only a Keras model's classifier is read; received a list."
        )
    return source


def _find(source: Path, whole: bool) -> Source:
    if source.is_file():
        if source.suffix not in _KNOWN and not is_archive(source.name):
            raise UserError(_UNREADABLE.format(source))
        return Source(_kind_of(source, whole), source)
    if not source.is_dir():
        raise UserError(
            f"pretrain.source: expected a data set folder, a model or a weights file; there is no {source}. "
            f"Add it to fetch.items, put it into data/own/, or run `dvc pull`."
        )
    inside = sorted(source.iterdir())
    graphs = [path for path in inside if path.suffix == ".onnx"]
    if is_preset(source):
        return Source("keras_hub", source)
    if (source / "saved_model.pb").is_file():
        raise UserError(
            f"pretrain.source: {source} is a SavedModel, which does not store layers. Load it where it was created, "
            f"and save it with `model.save('NAME.keras')`."
        )
    others = [path for path in inside if path.suffix.lower() in (*OTHER_WEIGHTS, *_KNOWN) and path.suffix not in _KNOWN]
    if others and not graphs:  # a folder may also contain other formats of the same model
        raise UserError(_UNREADABLE.format(others[0]))
    files = graphs or [path for path in inside if path.suffix in _KNOWN]
    if len(files) > 1:
        raise UserError(
            f"pretrain.source: expected one model or weights file in {source}, found "
            f"{', '.join(file.name for file in files)}."
        )
    return Source(_kind_of(files[0], whole), files[0]) if files else Source("data_set", source)


def is_preset(folder: Path) -> bool:
    """Whether a folder is a preset of KerasHub, by its ``config.json``."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and str(content.get("registered_name", "")).startswith("keras_hub>")


def _kind_of(file: Path, whole: bool) -> Kind:
    if file.suffix == ".h5":
        return "keras" if _has_network(file, whole) else "weights"
    kinds: dict[str, Kind] = {".keras": "keras", ".onnx": "onnx"}
    return kinds.get(file.suffix, "data_set")


def _has_network(file: Path, expected: bool) -> bool:
    """Return whether an HDF5 file has a network; if it cannot be read, what is ``expected``: reading it says why."""
    check_hdf5(file)
    try:
        with h5py.File(file) as content:
            return "model_config" in content.attrs
    except Exception:  # HDF5's are of many kinds
        return expected
