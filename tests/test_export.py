"""Export: every format says what was measured, takes any number of images, and repeats its bytes."""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
import requests
import yaml
from PIL import Image

from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.params import read_yaml
from stages.formats.card import EXAMPLES, FILES, Card, describe_usage, read_card, write_card
from stages.formats.examples import write_examples
from stages.formats.model_card import describe_weights
from stages.formats.onnx_file import write_onnx
from stages.formats.parity import compare, is_uninformative
from stages.formats.quantized import Loss, Losses, check_losses
from stages.formats.runner import Runner
from stages.images.contract import Contract
from stages.images.load import load
from stages.images.representative import choose_balanced
from stages.images.split_file import SplitFile, SplitRow, write_split
from stages.measure.metrics import count_confusions, measure, measure_classes
from stages.measure.predictions import softmax, tabulate
from stages.schema.export import FORMATS, PRECISIONS, QUANTIZED
from stages.schema.pretrain import Pretrain
from stages.transfer.calibration import Calibration, describe_calibration
from tests.conftest import PROJECT
from tests.helpers.copies import run, set_params
from tests.helpers.thin import make_environment

CLASSES = ["cat", "dog", "Käse", "zebra"]
CONTRACT = Contract(size=16, channels=3, form="photo", polarity="light_on_dark", fit="stretch")
FLOAT = {name: FILES[name] for name in FORMATS}


def test_rows(images: int) -> Iterator[SplitRow]:
    """Blurred noise in many colors and sizes, so that a network's probabilities vary."""
    random = np.random.default_rng(3)
    for number in range(images):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        packed = io.BytesIO()
        coarse.resize((20 + number, 30)).save(packed, "png")
        yield SplitRow(f"{CLASSES[number % 4]}/{number}.png", CLASSES[number % 4], packed.getvalue(), 20 + number, 30)


test_rows.__test__ = False  # type: ignore[attr-defined]


def pixels_of(split: Path) -> np.ndarray:
    return np.stack([load(data, CONTRACT) for data in SplitFile(split).images()])


def miniature(pixels: np.ndarray) -> tuple[Any, Any]:
    """A backbone of the real ones' kinds of layers, and a head, with statistics that fit the images.

    So probabilities vary. It ends, as InceptionV3 does for small images, in branches on maps of one pixel.
    """
    from stages.compute.runtime import start  # isort: skip

    import keras
    from keras import layers

    from stages.compute.networks import build_head, pixels_input, preprocess

    def unit(x: Any, filters: int, size: Any, name: str, **options: Any) -> Any:
        x = layers.Conv2D(filters, size, use_bias=False, name=f"{name}_conv", **options)(x)
        return layers.ReLU(6, name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))

    def branches(x: Any, name: str) -> Any:
        whole = unit(x, 6, 1, f"{name}_1", padding="same")
        crossed = [unit(whole, 6, size, f"{name}_{size[0]}x{size[1]}", padding="same") for size in ((1, 3), (3, 1))]
        pooled = layers.AveragePooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
        pooled = unit(pooled, 6, 1, f"{name}_pooled", padding="same")
        crossed = layers.Concatenate(name=f"{name}_crossed")(crossed)
        return layers.Concatenate(name=f"{name}_joined")([whole, crossed, pooled])

    start(seed=1)
    x = image = keras.Input((16, 16, 3), name="image")
    x = unit(x, 8, 3, "first")
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")(x)
    x = layers.Conv2D(8, 3, groups=8, padding="same", name="grouped")(x)  # this and the next: as in ConvNeXt
    x = layers.Activation("gelu", name="gelu")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = branches(branches(unit(x, 8, 3, "last"), "one"), "two")
    backbone = keras.Model(image, x, name="miniature")
    raw = pixels_input(16, 3)
    images = keras.Model(raw, preprocess(raw, "normalized"))(pixels)
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            maps = np.asarray(keras.Model(image, layer.input)(images))
            layer.moving_mean.assign(maps.mean(axis=(0, 1, 2)))
            layer.moving_variance.assign(maps.var(axis=(0, 1, 2)))
    head = build_head(24, dropout=0.2, classes=4)
    kernel = head.get_layer("classifier").kernel
    kernel.assign(kernel * 2 / np.asarray(head(np.asarray(backbone(images)).mean(axis=(1, 2)))).std())
    return backbone, head


def hand_on(
    folder: Path, backbone: Any, mode: str, head: Any, freeze: int | str, contract: Contract, classes: list[str]
) -> Any:
    """Write data/pretrain and data/finetune of a project; return the whole network, from pixels to logits."""
    from stages.backbones.pretrained import Pretrained, write_pretrained
    from stages.compute.networks import build_network, build_trainable_part
    from stages.transfer.freeze import resolve_depths
    from stages.transfer.model_pair import ModelPair, write_model_pair
    from stages.transfer.model_pair_keras import write_model
    from tests.helpers.miniature import as_backbone

    pretrain, finetune = (folder / "data" / name for name in ("pretrain", "finetune"))
    for path in (pretrain, finetune):
        path.mkdir(parents=True)
    backbone = as_backbone(backbone, mode)
    write_pretrained(pretrain, Pretrained(backbone))
    (depth,) = resolve_depths(backbone.architecture, freeze, [])
    thaws = depth.frozen < len(backbone.architecture.layers)
    plain = json.loads(head.to_json())
    write_model_pair(finetune, ModelPair(classes, asdict(contract), "average", depth if thaws else None, plain, True))
    models = {"head": head}
    if thaws:
        models["finetuned"] = build_trainable_part(backbone, depth.layer, "average", head)
    for which, model in models.items():
        rows = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype(model.input.dtype)
        write_model(finetune, pretrain, model, which, rows)
    return build_network(backbone, "average", head)


def copy_inputs(work: Path, folder: Path, formats: str, bound: float, quantize: str = "", loss: float = 0.1) -> Path:
    """Copy what export reads to another folder, with params of its own."""
    for name in ("split", "pretrain", "finetune", "evaluate"):
        shutil.copytree(work / "data" / name, folder / "data" / name)
    write_params(folder, formats, bound, quantize, loss)
    return folder


def write_params(folder: Path, formats: str, bound: float, quantize: str = "", loss: float = 0.1) -> None:
    shutil.copy(PROJECT / "recipes/default.yaml", folder / "params.yaml")
    own = {"formats": formats.split(", "), "parity_images": 20, "max_difference": bound, "license": "cc-by-4.0"}
    own |= {"quantize": quantize.split(", ") if quantize else [], "max_accuracy_loss": loss}
    about = {"source": "drawn|here", "license": "CC0"}
    set_params(folder, {"split": {"source": "data/own/pictures", "about": about}, "export": own})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with a split, a fine-tuned model, and what the Keras model says of the test images."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("split", "evaluate"):
        (folder / "data" / name).mkdir(parents=True)
    split = folder / "data/split/test.parquet"
    reading = {"form": CONTRACT.form, "polarity": CONTRACT.polarity, "fit": CONTRACT.fit}
    for name in ("train", "val", "test"):
        write_split(split.with_stem(name), test_rows(30), CLASSES, reading)
    pixels = pixels_of(split)
    backbone, head = miniature(pixels)
    model = hand_on(folder, backbone, "normalized", head, "last_conv", CONTRACT, CLASSES)
    probabilities = softmax(np.asarray(model(pixels)))
    table = tabulate(SplitFile(split), {"head": probabilities[:, ::-1], "finetuned": probabilities})
    pq.write_table(table, folder / "data/evaluate/predictions.parquet")
    write_measured(folder, SplitFile(split).labels(), probabilities)
    write_params(folder, "keras, litert, saved_model, onnx", 1e-4)
    return folder


def write_measured(folder: Path, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Write what the model card shows, as split, finetune and evaluate do."""
    both = {"head": probabilities[:, ::-1], "finetuned": probabilities}
    scores = measure(labels, both, compare=True, confidence=0.95, bins=15)
    write_json(folder / "data/evaluate/scores.json", {"test_images": len(labels), **scores})
    measure_classes(labels, both, CLASSES).to_csv(folder / "data/evaluate/per_class.csv", index=False)
    count_confusions(labels, probabilities, CLASSES).to_csv(folder / "data/evaluate/confusion.csv")
    write_json(folder / "data/split/summary.json", {"images": {"train": 40, "val": 8, "test": len(labels)}})
    layers = ["0,first_conv,Conv2D,216,frozen", "1,last_conv,Conv2D,648,thawed"]
    (folder / "data/finetune/layers.csv").write_text("\n".join(["index,name,type,parameters,state", *layers]))


@pytest.fixture(scope="module")
def runs(
    work: Path, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Path, subprocess.CompletedProcess[str]]]:
    """Folder and process of two runs on the same inputs, in different places."""
    folders = [work, tmp_path_factory.mktemp("again") / "somewhere else"]
    shutil.copytree(*folders)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "stages.export"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(project)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for folder in folders
    ]
    said = [process.communicate(timeout=300) for process in started]
    return [
        (folder, subprocess.CompletedProcess([], process.returncode, *streams))
        for folder, process, streams in zip(folders, started, said, strict=True)
    ]


@pytest.fixture(scope="module")
def exported(runs: list[tuple[Path, subprocess.CompletedProcess[str]]]) -> Path:
    folder, process = runs[0]
    assert process.returncode == 0, process.stderr
    return folder / "data/export"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_writes_the_same_bytes(
    runs: list[tuple[Path, subprocess.CompletedProcess[str]]], exported: Path
) -> None:
    again = files(runs[1][0] / "data/export")
    assert {
        "model.onnx",
        "model.tflite",
        "model.keras",
        "saved_model/saved_model.pb",
        "model.json",
        "parity.json",
        "preprocess.py",
        "examples/turned.jpg",
    } <= set(again)
    assert [name for name, content in files(exported).items() if content != again[name]] == []


def test_the_terminal_shows_a_line_a_format_and_nothing_else(
    runs: list[tuple[Path, subprocess.CompletedProcess[str]]],
) -> None:
    process = runs[0][1]
    lines = process.stdout.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == [
        f"data/export/{file}" for file in reversed(FLOAT.values())
    ]
    assert all(
        "kB; on 20 test images, probabilities differ by at" in line and "100.0% of the predicted" in line
        for line in lines
    )
    assert process.stderr == ""


def test_a_difference_beyond_the_bound_fails_and_writes_nothing(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # the stage sets both for its process; they end with this test
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    from stages import export

    monkeypatch.chdir(copy_inputs(work, tmp_path, "onnx, litert", 1e-12))
    with pytest.raises(SystemExit) as ended:
        export.main()
    stderr = capfd.readouterr().err
    assert ended.value.code == 1
    assert stderr.startswith(
        "export: litert: expected probabilities within 1e-12 of those that evaluate measured, received a difference"
    )
    assert stderr.count("\n") == 1
    assert "export.max_difference" in stderr
    assert not (tmp_path / "data/export").exists()
    assert not [path.name for path in (tmp_path / "data").iterdir() if path.name.startswith(".")]


def test_a_graph_that_says_something_else_than_was_measured_fails(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from stages import export

    monkeypatch.chdir(copy_inputs(work, tmp_path, "onnx", 1e-4))
    file = Path("data/evaluate/predictions.parquet")
    table = pq.read_table(file)
    column = table.schema.get_field_index("finetuned_probabilities")
    others = table.set_column(column, "finetuned_probabilities", table["head_probabilities"])
    pq.write_table(others, file)
    with pytest.raises(SystemExit):
        export.main()
    assert "onnx: expected probabilities within 0.0001 of those that evaluate measured" in capfd.readouterr().err
    pq.write_table(table.slice(1), file)
    with pytest.raises(SystemExit):
        export.main()
    said = "export: data/evaluate/predictions.parquet was computed from other images than data/split/test.parquet."
    assert capfd.readouterr().err == f"{said} Run `dvc repro`.\n"
    assert not Path("data/export").exists()


def test_onnx_alone_takes_no_framework_and_is_the_same_file(
    work: Path, exported: Path, project: Path, tmp_path: Path, small: Path
) -> None:
    """Quantized or not, on one processor and on several, and whatever the order of sets."""
    code = (
        "import os, runpy, sys\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "runpy.run_module('stages.export', run_name='__main__')\n"
        "print(sorted({'tensorflow', 'keras', 'jax', 'ai_edge_litert'} & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy_inputs(work, tmp_path, "onnx", 1e-4, "float16, int8"),
        env=os.environ | {"PYTHONPATH": str(project), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.stderr == ""
    assert process.stdout.splitlines()[3:] == ["[]"]
    found = files(tmp_path / "data/export")
    assert found == files(small)
    assert {"model.onnx", "preprocess.py"} < {name for name in found if not name.startswith(EXAMPLES)}
    assert found["model.onnx"] == (exported / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def small(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What export writes with ONNX in all precisions."""
    from stages import export

    folder = copy_inputs(work, tmp_path_factory.mktemp("small"), "onnx", 1e-4, "int8, float16")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        export.main()
    return folder / "data/export"


def check_quantized(folder: Path, work: Path, float32: str, quantized: list[str]) -> None:
    """Compare quantized files with the float32 file: smaller, the same pixels in, nearly the same probabilities."""
    pixels = pixels_of(work / "data/split/test.parquet")
    expected = Runner(folder, float32).probabilities(pixels)
    assert read_card(folder).formats == [float32, *quantized]
    parity = json.loads((folder / "parity.json").read_text())
    assert set(parity["formats"]) == {float32}
    about = parity["quantized"]
    assert (about["images"], about["reference"], set(about["formats"])) == (30, float32, set(quantized))
    assert parity["formats"][float32]["bytes"] == (folder / FILES[float32]).stat().st_size
    for name, bound in zip(quantized, (0.01, 0.2), strict=True):
        received = Runner(folder, name).probabilities(pixels)
        assert received.dtype == np.float32
        assert 0 < np.abs(received - expected).max() < bound
        said = about["formats"][name]
        assert said["bytes"] == (folder / FILES[name]).stat().st_size
        assert said["difference"] == pytest.approx(said["accuracy"] - about["accuracy"])
        assert said["low"] <= said["difference"] == (said["won"] - said["lost"]) / 30 <= said["high"]


def test_quantized_onnx_files_are_measured_on_validation_images(small: Path, work: Path) -> None:
    check_quantized(small, work, "onnx", ["onnx_float16", "onnx_int8"])
    weights = onnx.load(small / "model.int8.onnx").graph.initializer
    assert {one.data_type for one in weights if np.prod(one.dims) > 100} == {onnx.TensorProto.INT8}
    for name in ("model.float16.onnx", "model.int8.onnx"):
        model = onnx.load(small / name)
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)], "for browsers"
        assert {one.key for one in model.metadata_props} == {"classes", "contract", "statement"}


def test_a_quantized_file_that_loses_too_much_is_refused() -> None:
    loss = Loss(bytes=9, accuracy=0.9, difference=-0.02, low=-0.05, high=0.01, lost=2, won=1)
    losses = Losses(50, 0.95, "onnx", 0.92, {"onnx_float16": replace(loss, difference=0.0), "onnx_int8": loss})
    check_losses(losses, 0.02)
    with pytest.raises(UserError) as refused:
        check_losses(losses, 0.01)
    assert str(refused.value) == (
        "onnx_int8: expected at most 0.01 less accuracy on the validation images than in float32, received 0.02 less "
        "(90.00% for 92.00%, 50 images). Leave int8 out of export.quantize, or raise export.max_accuracy_loss. One of "
        "50 images is 0.02; more validation images tell more."
    )


def test_without_validation_images_nothing_is_quantized(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from stages import export

    monkeypatch.chdir(copy_inputs(work, tmp_path, "onnx", 1e-4, "float16"))
    reading = {"form": CONTRACT.form, "polarity": CONTRACT.polarity, "fit": CONTRACT.fit}
    write_split(Path("data/split/val.parquet"), [], CLASSES, reading)
    with pytest.raises(SystemExit):
        export.main()
    assert capfd.readouterr().err.startswith("export: export.quantize: expected [] without validation images")
    assert not Path("data/export").exists()


def test_calibration_takes_as_many_images_of_each_class() -> None:
    labels = np.array([0] * 50 + [1] * 3 + [2] * 50)
    chosen = labels[choose_balanced(labels, 21)]
    assert np.bincount(chosen).tolist() == [9, 3, 9]
    assert choose_balanced(labels, 1000).tolist() == list(range(103))


@pytest.mark.slow
def test_quantized_litert_files_have_the_same_bytes_on_one_processor(work: Path, project: Path, tmp_path: Path) -> None:
    code = "import os; os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:{}])); "
    code += "import runpy; runpy.run_module('stages.export', run_name='__main__')"
    written = []
    for processors in (1, 2):
        folder = copy_inputs(work, tmp_path / str(processors), "litert", 1e-4, "float16, int8")
        process = subprocess.run(
            [sys.executable, "-c", code.format(processors)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(project)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.stderr == ""
        written.append(files(folder / "data/export"))
    assert written[0] == written[1]
    check_quantized(folder / "data/export", work, "litert", ["litert_float16", "litert_int8"])


@pytest.mark.parametrize("freeze", ["all", "grouped", "two_joined", "none"])
def test_the_onnx_file_is_the_whole_network_wherever_it_was_cut(freeze: str, work: Path, tmp_path: Path) -> None:
    pixels = pixels_of(work / "data/split/test.parquet")
    backbone, head = miniature(pixels)
    model = hand_on(tmp_path, backbone, "normalized", head, freeze, CONTRACT, CLASSES)
    card = Card(CLASSES, CONTRACT, ["onnx"])
    write_onnx(tmp_path / "data/finetune", tmp_path / "data/pretrain", card, tmp_path / "model.onnx")
    write_card(tmp_path, card)
    received = Runner(tmp_path, "onnx").probabilities(pixels)
    np.testing.assert_allclose(received, softmax(np.asarray(model(pixels))), atol=1e-5)


def test_a_head_with_one_output_is_exported_as_two_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sigmoid's logits are (0, z), so that the softmax of every format is right for it too."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # as above
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    from stages.compute.networks import build_head, build_network
    from stages.compute.runtime import start
    from stages.formats.tensorflow_files import make_tensorflow_writers
    from tests.helpers.miniature import as_backbone, pictures
    from tests.helpers.miniature import miniature as backbone

    start(seed=1)
    classifier = build_head(12, hidden=[6], dropout=0.3, classes=2, batchnorm=True, output="sigmoid")
    residual = backbone()
    model = build_network(as_backbone(residual), "average", classifier)
    pixels, _ = pictures(10)
    last, z = classifier.get_layer("classifier"), np.asarray(model(pixels))[:, 1]
    last.kernel.assign(last.kernel / z.std())
    last.bias.assign([-z.mean() / z.std()])
    probabilities = 1 / (1 + np.exp(-np.asarray(model(pixels))[:, 1]))
    assert np.ptp(probabilities) > 0.3
    card = Card(["across", "upright"], Contract(16, 1, "photo", "light_on_dark", "stretch"), [*FLOAT])
    write_card(tmp_path, card)
    hand_on(tmp_path, residual, "unit", classifier, "block2_conv", card.contract, card.classes)
    finetune, pretrain = tmp_path / "data/finetune", tmp_path / "data/pretrain"
    write_onnx(finetune, pretrain, card, tmp_path / FLOAT["onnx"])
    write = make_tensorflow_writers(finetune, pretrain, card)
    for name in reversed(FLOAT):
        if name != "onnx":
            write[name](tmp_path / FLOAT[name])
        received = Runner(tmp_path, name).probabilities(pixels)
        np.testing.assert_allclose(received, np.stack([1 - probabilities, probabilities], axis=1), atol=1e-5)


def test_parity_is_reported_for_a_network_whose_probabilities_vary(exported: Path) -> None:
    parity = json.loads((exported / "parity.json").read_text())
    assert (parity["bound"], parity["images"], len(parity["sources"])) == (1e-4, 20, 20)
    assert {source.split("/")[0] for source in parity["sources"]} == set(CLASSES)
    assert set(parity["formats"]) == set(FLOAT)
    for measured in parity["formats"].values():
        assert 0 <= measured["largest_difference"] < 1e-4
        assert measured["equal_labels"] == 1
    assert any(measured["largest_difference"] > 0 for measured in parity["formats"].values())


@pytest.mark.parametrize("which", FLOAT)
def test_each_format_gives_the_keras_probabilities_for_any_number_of_images(
    which: str, exported: Path, work: Path
) -> None:
    from stages.transfer.model_pair_keras import read_model

    model = read_model(work / "data/finetune", work / "data/pretrain", "finetuned", from_pixels=True)
    pixels = pixels_of(work / "data/split/test.parquet")
    expected = softmax(np.asarray(model(pixels)))
    assert np.ptp(expected, axis=0).max() > 0.5, "a network that says the same of all images would prove nothing"
    runner = Runner(exported, which)
    assert (runner.format, runner.classes, runner.contract) == (which, CLASSES, CONTRACT)
    for images in (1, 7, 30):
        received = runner.probabilities(pixels[:images])
        assert received.dtype == np.float32
        np.testing.assert_allclose(received, expected[:images], atol=1e-5)
    assert runner.probabilities(pixels[:0]).shape == (0, 4)


def test_model_json_says_what_goes_in_and_out(exported: Path) -> None:
    content = json.loads((exported / "model.json").read_text(encoding="utf-8"))
    assert content["classes"] == CLASSES
    assert content["contract"] == {
        "size": 16, "channels": 3, "form": "photo", "polarity": "light_on_dark", "fit": "stretch", "range": None
    }  # fmt: skip
    assert content["input"] == {"name": "pixels", "dtype": "uint8", "shape": ["n", 16, 16, 3]}
    assert content["output"] == {"name": "probabilities", "dtype": "float32", "shape": ["n", 4]}
    assert content["formats"] == FLOAT
    for said in ("uint8", "(n, 16, 16, 3)", "values 0-255", "blue", "preprocess.py", "classes[j]", "examples/"):
        assert said in content["statement"]
    assert "calibration" not in content
    assert read_card(exported) == Card(CLASSES, CONTRACT, list(FLOAT), {"source": "drawn|here", "license": "CC0"})


def test_model_json_names_the_temperature_of_a_calibrated_model(tmp_path: Path) -> None:
    calibration = describe_calibration(Calibration(120, {"head": 1.1, "finetuned": 1.5}))
    write_card(tmp_path, card := Card(CLASSES, CONTRACT, ["onnx"], calibration=calibration))
    said = json.loads((tmp_path / "model.json").read_text())["calibration"]
    assert said == {"method": "temperature scaling", "temperature": 1.5, "images": 120}
    assert read_card(tmp_path) == card


def test_what_others_see_in_the_files(exported: Path) -> None:
    """Names, types and versions as ONNX Runtime, TensorFlow Serving and Keras's TFSMLayer look them up."""
    import tensorflow as tf

    model = onnx.load(exported / "model.onnx")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    (pixels,) = model.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in pixels.type.tensor_type.shape.dim]
    assert (pixels.name, pixels.type.tensor_type.elem_type, shape) == (
        "pixels",
        onnx.TensorProto.UINT8,
        ["n", 16, 16, 3],
    )
    (probabilities,) = model.graph.output
    shape = [dim.dim_param or dim.dim_value for dim in probabilities.type.tensor_type.shape.dim]
    assert (probabilities.name, shape) == ("probabilities", ["n", 4])
    loaded = tf.saved_model.load(str(exported / "saved_model"))
    served = loaded.serve(tf.zeros((2, 16, 16, 3), tf.uint8))["probabilities"]
    np.testing.assert_allclose(np.asarray(served).sum(axis=1), 1, atol=1e-6)
    assert list(loaded.signatures) == ["serving_default"]


def test_the_onnx_file_says_how_it_is_used(exported: Path) -> None:
    said = onnxruntime.InferenceSession(exported / "model.onnx").get_modelmeta().custom_metadata_map
    assert set(said) == {"classes", "contract", "statement"}
    assert json.loads(said["classes"]) == CLASSES
    assert Contract(**json.loads(said["contract"])) == CONTRACT
    assert said["statement"] == describe_usage(Card(CLASSES, CONTRACT, list(FLOAT)))


@pytest.mark.parametrize("which", FLOAT)
def test_the_runner_takes_the_format_that_is_there(which: str, exported: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(exported, tmp_path / "copy")
    for other, file in FLOAT.items():
        if other != which:
            shutil.rmtree(copy / file, ignore_errors=True)
            (copy / file).unlink(missing_ok=True)
    assert Runner(copy).format == which


@pytest.mark.parametrize(("which", "file"), [("onnx", "model.onnx"), ("litert", "model.tflite")])
def test_a_broken_model_file_is_named(
    which: str, file: str, exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / file).write_bytes((copy / file).read_bytes()[:1000])
    with pytest.raises(
        UserError, match=f"{file}: expected a model of the format {which}, received a file that cannot be read as one"
    ):
        Runner(copy, which)
    shutil.copy(exported / file, copy / file)
    write_card(copy, Card(["one", "two"], CONTRACT, ["onnx", "litert"]))
    with pytest.raises(UserError, match=r"from uint8 \(n, 16, 16, 3\) to 2 classes"):
        Runner(copy, which)
    assert capfd.readouterr() == ("", "")


def test_compare_tells_ties_from_mistakes() -> None:
    expected = np.array([[0.5, 0.5, 0.0], [0.5004, 0.4996, 0.0], [0.1, 0.9, 0.0]])
    flipped = expected + np.array([[-1e-5, 1e-5, 0], [-3e-4, 3e-4, 0], [0, 0, 0]])
    parity = compare("onnx", expected, flipped, 1e-3, ["a", "b", "c"])
    assert (parity.equal_labels, parity.ties, parity.largest_difference) == (
        pytest.approx(2 / 3),
        1,
        pytest.approx(3e-4),
    )
    flipped = expected + np.array([[0, 0, 0], [-5e-4, 5e-4, 0], [0, 0, 0]])
    with pytest.raises(UserError, match="onnx: expected the labels that evaluate measured, received another one for b"):
        compare("onnx", expected, flipped, 6e-4, ["a", "b", "c"])
    broken = expected + np.array([[0, 0, 0], [0, 0, 0], [np.nan, 0, 0]])
    with pytest.raises(UserError, match="onnx: expected probabilities that are numbers, received NaN for c"):
        compare("onnx", expected, broken, 1e-3, ["a", "b", "c"])


def test_a_network_that_says_the_same_of_all_images_is_noticed() -> None:
    assert is_uninformative(np.full((5, 4), 0.25), 1e-4)
    assert not is_uninformative(np.eye(4), 1e-4)


CONTRACTS = [
    CONTRACT,
    Contract(32, 3, "photo", "dark_on_light", "crop", (-160, 240)),
    Contract(28, 1, "ink", "dark_on_light", "stretch", (0, 4095)),
    Contract(8, 3, "ink", "light_on_dark", "pad", (0, 1)),
]


@pytest.mark.parametrize("contract", CONTRACTS, ids=str)
def test_examples_show_what_becomes_of_every_kind_of_picture(contract: Contract, tmp_path: Path) -> None:
    write_examples(tmp_path / EXAMPLES, contract, lambda pixels: np.array([[0.123456, pixels.mean() / 255]]))
    listed = json.loads((tmp_path / EXAMPLES / "examples.json").read_text())
    assert [each["file"] for each in listed] == ["color.png", "turned.jpg", "transparent.png", "deep.png"]
    for each in listed:
        pixels = load((tmp_path / EXAMPLES / each["file"]).read_bytes(), contract)
        assert len(np.unique(pixels)) > 8, "a plain picture would prove little"
        with Image.open(tmp_path / EXAMPLES / each["pixels"]) as shown:
            assert np.array_equal(np.asarray(shown), pixels.squeeze())
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == each["pixels_sha256"]
        assert each["probabilities"] == [0.1235, round(pixels.mean() / 255, 4)]


def test_every_format_that_params_allow_has_a_file() -> None:
    quantized = [f"{name}_{precision}" for name in QUANTIZED for precision in PRECISIONS]
    assert [*FILES] == [*FORMATS, *quantized]


def test_preprocess_and_examples_travel_with_the_model(exported: Path) -> None:
    code = (
        "import numpy, pathlib, preprocess, sys; print(preprocess.load(pathlib.Path(sys.argv[1]).read_bytes()).sum())"
    )
    said = run("python", "-c", code, "examples/turned.jpg", cwd=exported, PYTHONDONTWRITEBYTECODE="1")
    assert int(said) == load((exported / "examples/turned.jpg").read_bytes(), CONTRACT).sum()
    listed = json.loads((exported / EXAMPLES / "examples.json").read_text())
    pixels = np.stack([load((exported / EXAMPLES / each["file"]).read_bytes(), CONTRACT) for each in listed])
    for which in FLOAT:
        received = Runner(exported, which).probabilities(pixels)
        np.testing.assert_allclose(received, [each["probabilities"] for each in listed], atol=1e-4)


def test_the_model_card_says_what_was_measured_and_what_may_be_done(exported: Path, work: Path) -> None:
    _, header, text = (exported / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    said = yaml.safe_load(header)
    scores = json.loads((work / "data/evaluate/scores.json").read_text())
    assert (said["license"], said["library_name"]) == ("cc-by-4.0", "onnx")
    assert said["tags"] == ["image-classification", "onnx", "litert", "tf-keras", "keras"]
    (result,) = said["model-index"][0]["results"]
    assert result["dataset"] == {"name": "pictures", "type": "imagefolder", "split": "test"}
    assert result["metrics"][0] == {"type": "accuracy", "value": scores["finetuned"]["accuracy"]}
    low, high = (f"{100 * scores['finetuned'][f'accuracy_{end}']:.1f}" for end in ("low", "high"))
    for words in (
        f"fine-tuned 100.0 % ({low} to {high})" if scores["finetuned"]["accuracy"] == 1 else f"({low} to {high})",
        "| `model.tflite` | the model as LiteRT |",
        "- Images: drawn\\|here (40 train, 8 val, 30 test); license: CC0.",
        "The backbone's weights were trained here, on data/fetch/digits, whose license applies, too.",
        "- This model: cc-by-4.0.",
        "- Frozen: 1 of 2 layers; thawed from last\\_conv on",
        f"git log -S {hashlib.md5((work / 'data/evaluate/scores.json').read_bytes()).hexdigest()} -- dvc.lock",
    ):
        assert words in text


def test_the_code_of_the_model_card_runs(exported: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    said = run("python", "-c", code, cwd=exported, PYTHONDONTWRITEBYTECODE="1").split()
    best = max(json.loads((exported / EXAMPLES / "examples.json").read_text())[0]["probabilities"])
    assert said[0] in CLASSES
    assert float(said[1]) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    ("source", "backbone", "said"),
    [
        ("data/fetch/mobilenet_v2_imagenet", "mobilenet_v2", "license: Apache-2.0 (docs/templates"),
        ("data/fetch/convnext_tiny_imagenet", "convnext_tiny", "ImageNet; license: not stated."),
        ("data/own/net.onnx", "source", "come from data/own/net.onnx; their license is not recorded."),
    ],
)
def test_the_license_of_weights_is_that_of_their_publisher(source: str, backbone: str, said: str) -> None:
    section = read_yaml(PROJECT / "recipes/default.yaml")["pretrain"]
    assert said in describe_weights(Pretrain(**section | {"source": source, "backbone": backbone, "epochs": 0}))


RUNTIMES = {
    "with_onnxruntime.py": ["onnxruntime"],
    "with_litert.py": ["ai-edge-litert"],
    "with_tensorflow.py": ["tensorflow"],
    "with_keras.py": ["keras", "tensorflow"],
}
SLOW = {name: [] if name == "with_onnxruntime.py" else [pytest.mark.slow] for name in RUNTIMES}
PICTURES = ["color.png", "turned.jpg", "transparent.png", "deep.png"]


def taken_away(exported: Path, folder: Path) -> Path:
    """Make a folder that holds the examples and the exported model, and nothing else of the project."""
    shutil.copytree(exported, folder / "data/export", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def check_answers(said: str, exported: Path, close: float = 1e-4) -> None:
    """Check what an example printed for the PICTURES."""
    answers = [line.split() for line in said.splitlines() if line.startswith("data/export/examples/")]
    listed = json.loads((exported / EXAMPLES / "examples.json").read_text())
    assert [Path(name).name for name, _, _ in answers] == [each["file"] for each in listed] == PICTURES
    for (_, label, probability), each in zip(answers, listed, strict=True):
        assert label == CLASSES[int(np.argmax(each["probabilities"]))]
        assert float(probability) == pytest.approx(max(each["probabilities"]), abs=close)


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in SLOW.items()])
def test_examples_run_where_there_is_only_their_runtime(name: str, exported: Path, tmp_path: Path) -> None:
    here = taken_away(exported, tmp_path)
    python = make_environment(tmp_path / "environment", ["numpy", "pillow", *RUNTIMES[name]])
    pictures = [f"data/export/examples/{picture}" for picture in PICTURES]
    check_answers(run(str(python), f"examples/{name}", *pictures, cwd=here, PYTHONPATH=""), exported)


def test_examples_are_short() -> None:
    for path in (PROJECT / "examples").glob("with_*"):
        assert len(path.read_text().splitlines()) < 20, path.name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "close"), [("with_node.mjs", 1e-4), ("with_node_alone.mjs", 0.02)])
def test_examples_run_in_node(name: str, close: float, exported: Path, project: Path, tmp_path: Path) -> None:
    """The second decodes with sharp, which gives 16-bit gray values with 8 bits."""
    here = taken_away(exported, tmp_path)
    shutil.copytree(project / "stages/browser", here / "stages/browser")
    install_packages(here, "onnxruntime-node", "sharp")
    pictures = [f"data/export/examples/{picture}" for picture in PICTURES]
    check_answers(run("node", f"examples/{name}", *pictures, cwd=here), exported, close)


def install_packages(folder: Path, *packages: str) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js with npm, which is not installed")
    environment = os.environ | {"ONNXRUNTIME_NODE_INSTALL": "skip"}
    done = subprocess.run(["npm", "install", "--silent", *packages], cwd=folder, env=environment, check=False)
    if done.returncode:
        pytest.skip(f"needs {', '.join(packages)}, which npm cannot install")


@pytest.mark.slow
def test_the_web_service_starts_as_its_dockerfile_says(exported: Path, tmp_path: Path) -> None:
    """Docker builds an image from the same lines; here a virtual environment and a folder take its place."""
    here, app = taken_away(exported, tmp_path / "here"), tmp_path / "app"
    run(sys.executable, "-m", "venv", str(tmp_path / "environment"), cwd=tmp_path)
    path = f"{tmp_path}/environment/bin:{os.environ['PATH']}"
    environment = {"PATH": path, "PYTHONPATH": "", "PIP_NO_COMPILE": "1", "PYTHONWARNINGS": ""}  # pip leaves files open
    command: list[str] = []
    for line in (PROJECT / "examples/fastapi/Dockerfile").read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *sources, target = rest.split()
            (app / target if target.endswith("/") else app).mkdir(parents=True, exist_ok=True)
            for source in sources:
                shutil.copy(here / source, app / target)
        elif word == "RUN":
            run("sh", "-c", rest.replace("--no-cache-dir ", ""), cwd=app, **environment)
        elif word == "ENV":
            environment |= dict([rest.split("=")])
        elif word == "CMD":
            command = json.loads(rest)
    port = find_free_port()
    command[command.index("8000")] = str(port)
    with subprocess.Popen(command, cwd=app, env=os.environ | environment, stderr=subprocess.DEVNULL) as server:
        try:
            listed = json.loads((exported / EXAMPLES / "examples.json").read_text())
            for each in listed:
                code, answer = post(port, (exported / EXAMPLES / each["file"]).read_bytes())
                assert (code, list(answer)) == (200, CLASSES)
                assert list(answer.values()) == pytest.approx(each["probabilities"], abs=1e-4)
            assert post(port, b"") == (422, {"detail": "empty file"})
            assert post(port, bytes(20_000_001)) == (413, {"detail": "expected at most 20,000,000 bytes"})
        finally:
            server.terminate()


def find_free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def post(port: int, data: bytes) -> tuple[int, Any]:
    """Send an image as a form of a browser does; wait until the server listens."""
    head = b'--limit\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=limit"}
    for _ in range(600):
        with contextlib.suppress(requests.ConnectionError):
            address = f"http://127.0.0.1:{port}/predict"
            answer = requests.post(address, data=head + data + b"\r\n--limit--\r\n", headers=kind, timeout=60)
            return answer.status_code, answer.json()
        time.sleep(0.1)
    raise AssertionError("no server")
