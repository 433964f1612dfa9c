"""What ``pretrain.source`` is: a data set, weights, or a whole model; and whether the other keys go with it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py

from stages.base.errors import UserError
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
        """Whether it is a whole model, network and weights."""
        return self.kind in ("keras", "keras_hub", "onnx")

    @property
    def is_graph(self) -> bool:
        """Whether it is a model that only its graph is taken of, which cannot be thawed."""
        return self.kind == "onnx"


def find_source(params: Pretrain) -> Source:
    """Return what ``params.source`` is.

    Raises:
        UserError: there is nothing, more than one model or weights file, one in an unsupported format, or one that
            the other keys do not fit.
    """
    source = _find(Path(params.source))
    path = source.path
    if params.backbone != SOURCE:
        if source.is_model:
            raise UserError(
                f"pretrain.backbone: {path} is a whole model, not weights without classifier for {params.backbone}. "
                f"Set pretrain.backbone: {SOURCE} to take its network."
            )
        for key in ("pixels", "output", "classes"):
            if getattr(params, key) != AUTO:
                raise UserError(
                    f"pretrain.{key}: expected {AUTO} with a backbone of the table, {params.backbone}, of which it is "
                    f"known; received {getattr(params, key)}. It is for pretrain.backbone: {SOURCE}."
                )
    elif source.kind == "weights":
        raise UserError(
            f"pretrain.source: {path} holds weights without their network. Save the whole model with "
            f"`model.save('NAME.keras')`, or set pretrain.backbone to the network of the table they are of."
        )
    elif source.kind == "data_set":
        raise UserError(
            f"pretrain.source: expected a whole model, NAME.keras, NAME.h5 or NAME.onnx, or a folder of one, with "
            f"pretrain.backbone: {SOURCE}; received {path}. `python -m stages backbones` lists networks to learn a "
            f"data set with."
        )
    elif source.kind != "keras" and params.classes != AUTO:
        raise UserError(
            f"pretrain.classes: expected {AUTO}, for a classifier is read from Keras models alone and {path} is none."
        )
    return source


def _find(source: Path) -> Source:
    if source.is_file():
        if source.suffix not in _KNOWN and not is_archive(source.name):
            raise UserError(_UNREADABLE.format(source))
        return Source(_kind_of(source), source)
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
            f"pretrain.source: {source} is a SavedModel, which holds no layers. Load it where it was made, and save it "
            f"with `model.save('NAME.keras')`."
        )
    others = [path for path in inside if path.suffix.lower() in (*OTHER_WEIGHTS, *_KNOWN) and path.suffix not in _KNOWN]
    if others and not graphs:  # beside a graph may lie other formats of the same model
        raise UserError(_UNREADABLE.format(others[0]))
    files = graphs or [path for path in inside if path.suffix in _KNOWN]
    if len(files) > 1:
        raise UserError(
            f"pretrain.source: expected one model or weights file in {source}, found "
            f"{', '.join(file.name for file in files)}."
        )
    return Source(_kind_of(files[0]), files[0]) if files else Source("data_set", source)


def is_preset(folder: Path) -> bool:
    """Whether a folder is a preset of KerasHub, by its ``config.json``."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and str(content.get("registered_name", "")).startswith("keras_hub>")


def _kind_of(file: Path) -> Kind:
    if file.suffix == ".h5":
        return "keras" if _has_network(file) else "weights"
    kinds: dict[str, Kind] = {".keras": "keras", ".onnx": "onnx"}
    return kinds.get(file.suffix, "data_set")


def _has_network(file: Path) -> bool:
    try:
        with h5py.File(file) as content:
            return "model_config" in content.attrs
    except (OSError, RuntimeError):  # reading it as weights says what is wrong
        return False
