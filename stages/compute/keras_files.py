"""Read and write Keras model files, without running custom code in them."""

import json
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from stages.base.errors import UserError, summarize
from stages.base.files import refuse_damaged
from stages.base.hdf5 import check_hdf5
from stages.compute.keras_configs import refuse_code, upgrade
from stages.compute.native_logs import silence_native_logs
from stages.compute.networks import Model
from stages.compute.runtime import keras

_AGAIN = "Copy or save it again; if somebody else made it, be careful with it."
_RATIO, _SMALL = 100, 64 << 20  # files in an archive may take SMALL bytes plus RATIO times its size


def load_model(path: Path) -> Model:
    """Return the model in a file.

    Args:
        path: ``NAME.keras``, or ``NAME.h5`` with the network in it, as Keras 2 and 3 write both.

    Raises:
        UserError: it is damaged, contains custom code, or cannot be read by Keras 3.
    """
    config, version = _read_config(path)
    if path.suffix == ".keras" and version.startswith("2"):
        raise UserError(
            f"{path} was written by Keras {version}, whose .keras files Keras 3 cannot read. Load it where it was "
            f"created, and save it with `model.save('NAME.h5')`."
        )
    refuse_code(path, config)
    with silence_native_logs():
        try:
            model = _load(path, config)
            if isinstance(model, keras.Model):
                return model
            failure = f"it contains a {type(model).__name__}, not a model"
        except Exception as error:  # Keras raises errors of many kinds
            failure = _shorten(error)
    if unknown := re.search(r"Unknown layer: '(\w+)'", failure):
        raise UserError(
            f"{path}: {unknown[1]} is a custom layer, whose code is not run, or an operation between layers that .h5 "
            f"files cannot store. Build the model from Keras layers, and save it as NAME.keras."
        )
    raise UserError(
        f"{path}: Keras {keras.__version__} cannot read it ({failure}). Copy it again, or save it as "
        f"NAME.keras with this version of Keras, or as NAME.h5 with Keras 2."
    )


def save_model(model: Model, path: Path, extra: Mapping[str, bytes]) -> None:
    """Write a model as NAME.keras, without the date that Keras stores, so that the same model gives the same bytes.

    Args:
        model: not compiled, of Keras's own layers.
        path: of the file.
        extra: contents of additional files in the archive, by name. Keras ignores them.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save(saved := Path(folder) / path.name)
        with zipfile.ZipFile(saved) as file:
            contents = {name: file.read(name) for name in file.namelist()}
    metadata = json.loads(contents["metadata.json"])
    del metadata["date_saved"]
    contents |= {"metadata.json": json.dumps(metadata).encode(), **extra}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in sorted(contents.items()):
            file.writestr(zipfile.ZipInfo(name), content)  # dated 1980


def read_json(path: Path, name: str) -> Any:
    """Return the JSON in a file of a .keras archive; None if there is no such file.

    Args:
        path: of the archive.
        name: of the file in it.

    Raises:
        UserError: the archive contains what Keras does not write.
    """
    with zipfile.ZipFile(path) as archive:
        names = Counter(archive.namelist())
        if twice := [name for name, count in names.items() if count > 1]:
            raise UserError(f"{path}: expected one file {twice[0]} in it, received {names[twice[0]]}. {_AGAIN}")
        if outside := [name for name in names if name.startswith("/") or ".." in Path(name).parts]:
            raise UserError(f"{path}: expected relative file names in it, received {outside[0]}. {_AGAIN}")
        size = sum(file.file_size for file in archive.infolist())
        if size > (most := _SMALL + _RATIO * path.stat().st_size):
            raise UserError(f"{path}: expected at most {most:,} bytes of files in it, received {size:,}. {_AGAIN}")
        with refuse_damaged(path / name, "JSON", _AGAIN):
            return json.loads(archive.read(name)) if name in names else None


def _load(path: Path, config: dict[str, Any]) -> Model:
    if path.suffix == ".keras":
        return keras.models.load_model(path, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        return _load_older(path, config, Path(folder) / "model.h5")


def _load_older(path: Path, config: dict[str, Any], copy: Path) -> Model:
    upgraded = json.dumps(upgrade(config))
    if upgraded == json.dumps(config):
        return keras.models.load_model(path, compile=False)
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = upgraded
    return keras.models.load_model(copy, compile=False)


def _read_config(path: Path) -> tuple[dict[str, Any], str]:
    """Return the network's config, and the version of Keras that wrote it."""
    if path.suffix == ".keras":
        config, metadata = read_json(path, "config.json"), read_json(path, "metadata.json")
        if not (isinstance(config, dict) and isinstance(metadata, dict)):
            raise UserError(f"{path}: expected a config.json and a metadata.json of Keras in it. {_AGAIN}")
        check_hdf5(path, "model.weights.h5")
        return config, str(metadata.get("keras_version"))
    check_hdf5(path)
    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"]), str(file.attrs.get("keras_version", "2"))


def _shorten(error: Exception) -> str:
    reason = str(error).rsplit("Exception encountered: ", 1)[-1]
    return summarize(reason) if reason else type(error).__name__
