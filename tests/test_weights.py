"""Weights files: what fits is loaded, and what does not is said with the file and the layer."""

import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from stages.backbones.registry import BACKBONES
from stages.backbones.weights import load_published
from stages.base.errors import UserError
from tests.helpers.published import vary, write_published


@pytest.fixture
def learned() -> keras.Model:
    model = BACKBONES["mobilenet_025"].build(32).model
    vary(model)
    return model


def write_legacy(model: keras.Model, folder: Path) -> Path:
    path = folder / "a.h5"
    write_published(model.layers, path)
    return path


def write_keras_3(model: keras.Model, folder: Path) -> Path:
    path = folder / "a.weights.h5"
    model.save_weights(path)
    return path


@pytest.mark.parametrize("write", [write_legacy, write_keras_3])
@pytest.mark.parametrize("side", [32, 96])
def test_both_layouts_load_at_any_size(learned: keras.Model, tmp_path: Path, write, side: int) -> None:
    backbone = BACKBONES["mobilenet_025"].build(side).model
    load_published(backbone, write(learned, tmp_path))
    for old, new in zip(learned.get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("write", [write_legacy, write_keras_3])
@pytest.mark.parametrize("name", ["mobilenet_050", "mobilenet_v2_035", "three_conv_cnn"])
def test_another_networks_weights_are_named(learned: keras.Model, tmp_path: Path, write, name: str) -> None:
    path = write(learned, tmp_path)
    with pytest.raises(UserError, match=re.escape(f"{path} does not fit the backbone")) as error:
        load_published(BACKBONES[name].build(32).model, path)
    if write is write_legacy and name == "mobilenet_050":
        assert "layer conv1: expected the shape (3, 3, 3, 16), the file has (3, 3, 3, 8) (in its conv1)" in str(
            error.value
        )


@pytest.mark.parametrize("write", [write_legacy, write_keras_3])
def test_a_file_with_the_classifier_is_told_from_one_without(tmp_path: Path, write) -> None:
    whole = keras.applications.MobileNet(alpha=0.25, weights=None, input_shape=(32, 32, 3), classes=10)
    with pytest.raises(UserError, match="classifier too, so take the 'no_top' file"):
        load_published(BACKBONES["mobilenet_025"].build(32).model, write(whole, tmp_path))


def test_the_published_file_with_the_classifier_too(shared: Path) -> None:
    said = r"after the last layer, conv_pw_13_bn, it continues with conv_preds.*'no_top'"
    with pytest.raises(UserError, match=said):
        load_published(BACKBONES["mobilenet_025"].build(32).model, shared / "mirror" / "mobilenet_2_5_224_tf.h5")


def test_a_file_that_ends_early_is_said(learned: keras.Model, tmp_path: Path) -> None:
    write_published(learned.layers[:-3], tmp_path / "a.h5")
    with pytest.raises(UserError, match="it ends before layer conv_pw_13"):
        load_published(BACKBONES["mobilenet_025"].build(32).model, tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html>", "it is a web page of 21 bytes. Download the file itself."),
        (b"", "it is something else (0 bytes"),
        (None, "it is cut off after 30,000 bytes"),
    ],
)
def test_what_is_no_weights_file_is_said(
    learned: keras.Model, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = write_legacy(learned, tmp_path)
    path.write_bytes(path.read_bytes()[:30_000] if content is None else content)
    with pytest.raises(UserError, match=re.escape(said)):
        load_published(learned, path)


@pytest.mark.parametrize(("write", "name"), [(write_legacy, "b.weights.h5"), (write_keras_3, "b.h5")])
def test_a_name_of_the_other_layout_is_said(learned: keras.Model, tmp_path: Path, write, name: str) -> None:
    path = write(learned, tmp_path).rename(tmp_path / name)
    with pytest.raises(UserError, match=r"layout, which Keras knows by the name: rename it to"):
        load_published(learned, path)


def link_nowhere(file: h5py.File, name: str) -> None:
    file[name] = h5py.SoftLink("/nowhere")


def link_outside(file: h5py.File, name: str) -> None:
    file[name] = h5py.ExternalLink("/nowhere.h5", "/weights")


def refer(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (1,), h5py.ref_dtype)


def group(file: h5py.File, name: str) -> None:
    file.create_group(name)


def words(file: h5py.File, name: str) -> None:
    file[name] = "weights"


def circle(file: h5py.File, name: str) -> None:
    file[name] = file["/"]


@pytest.mark.parametrize("write", [write_legacy, write_keras_3])
@pytest.mark.parametrize("put", [link_nowhere, link_outside, refer, group, words, circle])
def test_what_is_in_place_of_an_array_is_said(learned: keras.Model, tmp_path: Path, write, put) -> None:
    path = write(learned, tmp_path)
    with h5py.File(path, "r+") as file:
        arrays: list[str] = []
        file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
        del file[arrays[0]]
        put(file, arrays[0])
    with pytest.raises(UserError, match=re.escape(str(path))) as error:
        load_published(BACKBONES["mobilenet_025"].build(32).model, path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("write", [write_legacy, write_keras_3])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_damaged_place_is_said_or_does_no_harm(learned: keras.Model, tmp_path: Path, write, share: float) -> None:
    path = write(learned, tmp_path)
    content = bytearray(path.read_bytes())
    place = int(len(content) * share)
    content[place : place + 200] = b"\xff" * 200
    path.write_bytes(content)
    said = str(path)
    try:
        load_published(BACKBONES["mobilenet_025"].build(32).model, path)
    except UserError as error:
        said = str(error)
    assert str(path) in said
