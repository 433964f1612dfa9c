"""pretrain: one form of backbone, whether its weights were learned here or published."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import onnx
import pandas as pd
import pytest

from stages import pretrain
from stages.backbones.leakage import find_learned
from stages.backbones.pretrained import read_pretrained
from stages.backbones.registry import BACKBONES
from stages.compute.graphs.convert import convert
from stages.compute.graphs.edit import cut, read
from stages.compute.graphs.session import Graph
from stages.compute.networks import build_graph_network, build_network, preprocess
from tests.conftest import PROJECT
from tests.helpers.copies import set_params
from tests.helpers.small import small_project

WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"


def test_a_network_learns_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project(tmp_path, monkeypatch, {"pretrain": {"epochs": 25, "batch_size": 8}})
    pretrain.main()
    metrics = json.loads(Path("data/pretrain/metrics.json").read_text())
    assert metrics["source_test_accuracy"] > 0.8
    history = pd.read_csv("data/pretrain/history.csv")
    assert len(history) == 25
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] / 2
    learned = read_pretrained(Path("data/pretrain"))
    assert learned.classes == ["across", "upright"]
    assert learned.classifier is not None
    assert [array.shape for array in learned.classifier] == [(128, 2), (2,)]


@pytest.mark.parametrize(
    ("backbone", "side", "epochs"), [("mnist_cnn", 16, 1), ("mobilenet_v2_035", 32, 0)], ids=["learned", "random"]
)
def test_the_graph_is_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, side: int, epochs: int
) -> None:
    changes = {"backbone": backbone, "image_size": side, "epochs": epochs}
    small_project(tmp_path, monkeypatch, {"pretrain": changes})
    pretrain.main()
    written = read_pretrained(Path("data/pretrain"))
    architecture = written.backbone.architecture
    names = architecture.dominators[1:]
    assert architecture == BACKBONES[backbone].build(side).architecture
    network = build_graph_network(written.backbone, names)
    graph = read(Path("data/pretrain/backbone.onnx"))
    shape = architecture.pixels
    pixels = np.random.default_rng(1).integers(0, 256, (5, *shape), np.uint8)
    found = Graph(cut(graph, list(network.output)), 4)(pixels)
    assert {*names, "features_average", "features_max", "features_none"} == set(found)
    for name, values in network.predict_on_batch(pixels).items():
        assert np.std(values) > 0, name
        np.testing.assert_allclose(found[name], values, atol=1e-5 * np.abs(values).max(), err_msg=name)


def test_a_graph_that_computes_something_else_is_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_project(tmp_path, monkeypatch)

    def wrong(network: keras.Model) -> onnx.ModelProto:
        model = convert(network)
        for weights in model.graph.initializer:
            if weights.name.startswith("dense"):
                weights.CopyFrom(onnx.numpy_helper.from_array(1.1 * onnx.numpy_helper.to_array(weights), weights.name))
        return model

    monkeypatch.setattr("stages.backbones.pretrained.convert", wrong)
    with pytest.raises(SystemExit):
        pretrain.main()
    said = capsys.readouterr().err
    assert f"backbone.onnx: expected what the network in {keras.backend.backend()} outputs (dense, up to" in said
    assert not Path("data/pretrain").exists()


def test_an_archive_is_learned_like_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project(tmp_path, monkeypatch)
    written = []
    for source in ("data/own/other_bars", shutil.make_archive("data/own/packed", "zip", "data/own/other_bars")):
        set_params(tmp_path, {"pretrain": {"source": os.path.relpath(source)}})
        keras.utils.clear_session()
        pretrain.main()
        written.append({path.name: path.read_bytes() for path in sorted(Path("data/pretrain").iterdir())})
    assert written[0] == written[1]


def test_without_epochs_the_random_weights_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project(tmp_path, monkeypatch, {"pretrain": {"source": "data/own/bars", "epochs": 0}})
    pretrain.main()
    assert read_pretrained(Path("data/pretrain")).classifier is None
    assert json.loads(Path("data/pretrain/metrics.json").read_text()) == {"parameters": 32 * 10 + 1568 * 128 + 128}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project(tmp_path, monkeypatch)
    written = []
    for seed in (1, 1, 2):
        set_params(tmp_path, {"pretrain": {"seed": seed}})
        keras.utils.clear_session()  # as a new process has it
        pretrain.main()
        written.append({path.name: path.read_bytes() for path in sorted(Path("data/pretrain").iterdir())})
    assert written[0] == written[1]
    for name in ("backbone.weights.h5", "backbone.onnx"):
        assert written[0][name] != written[2][name]


def test_a_killed_run_leaves_nothing_and_the_next_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project(tmp_path, monkeypatch, {"pretrain": {"epochs": 100_000}})
    command = [sys.executable, "-m", "stages.pretrain"]
    killed = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(PROJECT)}, stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    assert ", 2 classes" in killed.stdout.readline()
    time.sleep(2)  # it trains now
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not Path("data/pretrain").exists()
    set_params(tmp_path, {"pretrain": {"epochs": 1}})
    pretrain.main()
    assert sorted(path.name for path in Path("data").iterdir()) == ["own", "pretrain"]


def test_published_weights_give_the_published_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Path
) -> None:
    changes = {"backbone": "mobilenet_v2_035", "image_size": 96, "source": str(shared / "mirror" / WEIGHTS)}
    small_project(tmp_path, monkeypatch, {"pretrain": changes})
    pretrain.main()
    backbone = read_pretrained(Path("data/pretrain")).backbone.model
    published = keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), alpha=0.35, include_top=False, weights=changes["source"]
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype("float32")
    ours = keras.Model(pixels := keras.Input((96, 96, 3)), backbone(preprocess(pixels, "symmetric")))
    expected = published.predict_on_batch(keras.applications.mobilenet_v2.preprocess_input(images.copy()))
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(ours.predict_on_batch(images), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("mode", "module"),
    [
        ("caffe", keras.applications.vgg16),
        ("symmetric", keras.applications.mobilenet_v2),
        ("normalized", keras.applications.densenet),
        ("raw", keras.applications.efficientnet),
    ],
)
def test_preprocessing_is_the_backbones_own(mode: str, module: object) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("float32")
    pixels = keras.Input((8, 8, 3))
    network = keras.Model(pixels, preprocess(pixels, mode))
    expected = module.preprocess_input(images.copy())  # type: ignore[attr-defined]
    np.testing.assert_allclose(network.predict_on_batch(images), expected, atol=1e-4)


def test_a_network_survives_its_file(tmp_path: Path) -> None:
    backbone = BACKBONES["vgg16"].build(32)
    network = build_network(backbone, "average", keras.Sequential([keras.Input((512,)), keras.layers.Dense(3)]))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    again = keras.models.model_from_json(network.to_json())
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(again.predict_on_batch(images), network.predict_on_batch(images))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"source": "data/own/nothing"},
            r"pretrain\.source: expected a data set folder, a model or a weights file; there is no",
        ),
        (
            {"backbone": "mobilenet_v9"},
            r"pretrain\.backbone: there is no backbone 'mobilenet_v9'\. Did you mean mobilenet_v2 or ",
        ),
        (
            {"backbone": "vgg16"},
            r"pretrain\.image_size: vgg16 takes 32 px or more \(it was made for 224\); received 16",
        ),
        ({"source": "weights.h5"}, r"weights\.h5 does not fit the backbone mnist_cnn"),
        ({"source": "garbage.h5"}, r"garbage\.h5: expected a whole HDF5 file with weights; it is something else"),
    ],
)
def test_what_cannot_be_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    said: str,
) -> None:
    small_project(tmp_path, monkeypatch, {"pretrain": changes})
    BACKBONES["vgg16"].build(32).model.save_weights("other.weights.h5")
    Path("other.weights.h5").rename("weights.h5")
    Path("garbage.h5").write_bytes(b"no weights")
    with pytest.raises(SystemExit) as stopped:
        pretrain.main()
    assert stopped.value.code == 1

    assert re.search(said, capsys.readouterr().err)
    assert not Path("data/pretrain").exists()


@pytest.mark.parametrize(
    "name",
    [
        "a.hdf5",
        "a.H5",
        "a.pth",
        "a.safetensors",
        "a.npz",
        "folder/a.pb",
        "folder/a.H5",
    ],
)
@pytest.mark.parametrize("epochs", [0, 1])
def test_weights_that_cannot_be_read_are_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, epochs: int
) -> None:
    file = Path("data/own") / name
    source = file if file.parent.name == "own" else file.parent
    small_project(tmp_path, monkeypatch, {"pretrain": {"source": str(source), "epochs": epochs}})
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"weights")
    with pytest.raises(SystemExit):
        pretrain.main()
    assert f"NAME.weights.h5 (Keras 3); received {file}. Save the " in capsys.readouterr().err


def test_a_source_of_one_class_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_project(tmp_path, monkeypatch)
    shutil.rmtree("data/own/other_bars/upright")
    with pytest.raises(SystemExit):
        pretrain.main()
    said = capsys.readouterr().err
    assert "pretrain.source: expected two or more classes in data/own/other_bars, found across." in said
    assert not Path("data/pretrain").exists()


def test_pixels_that_do_not_fit_on_the_disk_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_project(tmp_path, monkeypatch)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SystemExit):
        pretrain.main()
    said = capsys.readouterr().err
    assert "the pixels of 60 images take 15.4 kB of disk while they are learned; 1 kB are free" in said


def test_images_learned_are_those_of_the_training_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project(tmp_path, monkeypatch)
    pretrain.main()
    files = sorted(Path("data/own/other_bars").rglob("*.png"))
    found = find_learned(Path("data/pretrain/learned.npz"), [file.read_bytes() for file in files])
    assert len(found) == 54, "a tenth of each class is held back"
    others = [file.read_bytes() for file in Path("data/own/bars").rglob("*.png")]
    assert find_learned(Path("data/pretrain/learned.npz"), others) == []
