"""finetune: the head trains on stored features, then head and thawed layers train together; histories and weights."""

import io
import json
import re
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import onnx
import pandas as pd
import pytest

from stages import extract, finetune, pretrain, split
from stages.backbones.pretrained import Pretrained, read_pretrained
from stages.backbones.registry import BACKBONES
from stages.base.errors import UserError
from stages.base.params import read_section
from stages.compute.graphs.session import Graph
from stages.compute.networks import build_head
from stages.images.contract import Contract
from stages.images.load import load
from stages.images.split_file import SplitFile
from stages.schema.finetune import Finetune
from stages.transfer.freeze import Depth
from stages.transfer.heads import make_head, start_from_source
from stages.transfer.model_pair import read_model_pair
from stages.transfer.model_pair_keras import read_model
from tests.helpers.copies import set_params
from tests.helpers.miniature import as_backbone
from tests.helpers.small import prepared_project, small_project


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project that is ready for finetune, with the last two layers thawed."""
    return prepared_project(tmp_path_factory.mktemp("prepared"), split, pretrain, extract)


@pytest.fixture
def here(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    folder = shutil.copytree(prepared, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def whole_network(which: str) -> keras.Model:
    return read_model(Path("data/finetune"), Path("data/pretrain"), which, from_pixels=True)


def weights(which: str) -> dict[str, list[np.ndarray]]:
    backbone = next(layer for layer in whole_network(which).layers if layer.name == "mnist_cnn")
    return {layer.name: layer.get_weights() for layer in backbone.layers}


def pixels_of(split: SplitFile) -> np.ndarray:
    contract = Contract(**read_model_pair(Path("data/finetune")).contract)
    return np.stack([load(data, contract) for data in split.images()])


def kept_loss(phase: str) -> float:
    """The validation loss of the epoch whose weights are kept."""
    history = pd.read_csv("data/finetune/history.csv")
    loss: float = history.loc[(history["phase"] == phase) & (history["kept"] == 1), "val_loss"].item()
    return loss


def check_val() -> None:
    """What is said of the validation images is what training measured on them."""
    table = pd.read_parquet("data/finetune/val.parquet")
    assert list(table["source"]) == SplitFile(Path("data/split/val.parquet")).sources()
    tuned = "thawed" if Path("data/finetune/finetuned.onnx").exists() else "head"
    for model, phase in (("head", "head"), ("finetuned", tuned)):
        assert table[f"{model}_loss"].mean() == pytest.approx(kept_loss(phase), abs=1e-4), model


def test_frozen_layers_keep_their_bits_and_thawed_ones_learn(here: Path) -> None:
    finetune.main()
    before = {layer.name: layer.get_weights() for layer in read_pretrained(Path("data/pretrain")).backbone.model.layers}
    states = pd.read_csv("data/finetune/layers.csv").set_index("name")["state"]
    assert dict(states[["conv", "dense"]]) == {"conv": "frozen", "dense": "thawed"}
    for name, old in before.items():
        for kept, tuned, original in zip(weights("head")[name], weights("finetuned")[name], old, strict=True):
            np.testing.assert_array_equal(kept, original)
            assert np.array_equal(tuned, original) == (states[name] == "frozen"), name


def test_the_model_is_whole(here: Path) -> None:
    set_params(here, {"finetune": {"head": {"epochs": 20, "learning_rate": 0.01}}})
    finetune.main()
    finetuned = read_model_pair(Path("data/finetune"))
    test = SplitFile(Path("data/split/test.parquet"))
    assert finetuned.classes == ["across", "upright"]
    assert Contract(**finetuned.contract) == Contract(16, 1, "photo", "light_on_dark", "stretch")
    assert finetuned.depth == Depth(4, "flatten")
    logits = whole_network("finetuned").predict(pixels_of(test), verbose=0)
    assert np.mean(logits.argmax(axis=1) == test.labels()) > 0.8


def stored(file: str) -> list[tuple[int, ...]]:
    """The shapes of all arrays in a weights file."""
    shapes = []
    with h5py.File(Path("data/finetune", file)) as opened:
        opened.visititems(lambda _, item: shapes.append(item.shape) if isinstance(item, h5py.Dataset) else None)
    return sorted(shapes)


def test_the_weights_are_those_of_head_and_thawed_layers_alone(here: Path) -> None:
    finetune.main()
    assert stored("head.weights.h5") == [(2,), (128, 2)]
    assert stored("finetuned.weights.h5") == [(2,), (128,), (128, 2), (1568, 128)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"extract": {"freeze": "all"}}, "extract.freeze freezes the whole backbone. To thaw part of it, set extract."),
        ({"finetune": {"thawed": {"epochs": 0}}}, "finetune.thawed.epochs is 0"),
    ],
)
def test_where_nothing_is_thawed_the_head_is_both_models(
    here: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], why: str
) -> None:
    finetune.main()  # what it wrote before is no longer there
    set_params(Path(), changes)
    extract.main()
    finetune.main()
    assert f"only the head was trained, because {why}" in capsys.readouterr().out
    files = ["head.onnx", "head.weights.h5", "history.csv", "layers.csv", "model.json", "val.parquet"]
    assert list(written()) == files
    finetuned = read_model_pair(Path("data/finetune"))
    assert finetuned.depth is None
    assert finetuned.input_of("finetuned") == "features"
    check_val()
    table = pd.read_parquet("data/finetune/val.parquet")
    assert list(table["finetuned_loss"]) == list(table["head_loss"])
    for ours, theirs in zip(whole_network("finetuned").weights, whole_network("head").weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("freeze", [-2, "none"])
def test_the_graphs_give_what_the_models_give(here: Path, freeze: int | str) -> None:
    set_params(Path(), {"extract": {"freeze": freeze}, "finetune": {"head": {"hidden": [8], "batchnorm": True}}})
    extract.main()
    finetune.main()
    kept = {-2: "flatten", "none": "pixels"}[freeze]
    inputs = {"head": ("features", "features"), "finetuned": ("activations" if freeze == -2 else "pixels", kept)}
    for which, (name, rows) in inputs.items():
        file = Path("data/finetune", f"{which}.onnx")
        assert [(one.name) for one in onnx.load(file).graph.input] == [name]
        values = np.load(f"data/extract/val_{rows}.npy")
        model, whole = (
            read_model(Path("data/finetune"), Path("data/pretrain"), which, from_pixels=part) for part in (False, True)
        )
        logits = Graph(onnx.load(file), 5)(values)["logits"]
        assert logits.std() > 0.01
        np.testing.assert_allclose(logits, model(values), atol=1e-5)
        pixels = pixels_of(SplitFile(Path("data/split/val.parquet")))
        np.testing.assert_allclose(logits, whole.predict(pixels, verbose=0), atol=1e-4)


def test_what_it_says_of_the_validation_images_is_what_training_measured(here: Path) -> None:
    set_params(here, {"finetune": {"head": {"epochs": 20, "learning_rate": 0.01}}})
    finetune.main()
    check_val()
    table = pd.read_parquet("data/finetune/val.parquet")
    losses = -np.log(np.stack(table["finetuned_probabilities"])[np.arange(len(table)), table["label"]])
    assert table["finetuned_loss"].to_numpy() == pytest.approx(losses, rel=1e-4, abs=1e-6)
    history = pd.read_csv("data/finetune/history.csv")
    accuracy = history.loc[(history["phase"] == "thawed") & (history["kept"] == 1), "val_accuracy"].item()
    assert (table["finetuned_predicted"] == table["class"]).mean() == pytest.approx(accuracy)


def test_the_history_tells_both_phases(here: Path) -> None:
    finetune.main()
    history = pd.read_csv("data/finetune/history.csv")
    assert list(history["phase"]) == ["head"] * 3 + ["thawed"] * 3
    assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert list(history.groupby("phase")["kept"].sum()) == [1, 1]
    for phase, rows in history.groupby("phase"):
        assert rows.loc[rows["kept"] == 1, "val_loss"].item() == rows["val_loss"].min(), phase
    assert list(history["learning_rate"].round(6)) == [0.001] * 3 + [0.0001] * 3


def test_the_kept_weights_are_those_of_the_kept_epoch(here: Path) -> None:
    set_params(here, {"finetune": {"head": {"epochs": 30, "learning_rate": 0.3}, "thawed": {"epochs": 0}}})
    finetune.main()
    history = pd.read_csv("data/finetune/history.csv")
    val = SplitFile(Path("data/split/val.parquet"))
    logits = whole_network("head").predict(pixels_of(val), verbose=0).astype(float)
    loss = np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(logits)), val.labels()])
    assert loss == pytest.approx(history["val_loss"].min(), rel=1e-3)
    check_val()
    assert history["val_loss"].iloc[-1] > history["val_loss"].min()


def test_early_stopping_and_plateau(here: Path) -> None:
    changes = {"early_stopping": 4, "plateau": {"patience": 2, "factor": 0.1}, "thawed": {"epochs": 0}}
    set_params(here, {"finetune": {**changes, "head": {"epochs": 200, "learning_rate": 0.3}}})
    finetune.main()
    history = pd.read_csv("data/finetune/history.csv")
    assert len(history) < 200
    assert history["kept"].idxmax() == len(history) - 1 - 4
    assert history["learning_rate"].iloc[-1] < 0.3


def test_it_is_said_once_why_training_accuracy_can_be_lower(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for dropout, rotation in ((0.0, 0), (0.0, 10), (0.5, 0), (0.5, 10)):
        set_params(here, {"extract": {"augment": {"rotation": rotation, "shift": 0, "zoom": 0}}})
        set_params(here, {"finetune": {"head": {"dropout": dropout, "epochs": 1}, "thawed": {"epochs": 0}}})
        extract.main()
        capsys.readouterr()
        finetune.main()
        said[dropout > 0, rotation > 0] = re.findall(r"  training accuracy is measured (.*):", capsys.readouterr().out)
    assert said == {
        (False, False): [],
        (False, True): ["on augmented views"],
        (True, False): ["with dropout"],
        (True, True): ["with dropout and on augmented views"],
    }
    set_params(here, {"finetune": {"thawed": {"epochs": 1}, "checkpoint": "best_accuracy"}})
    finetune.main()
    out = capsys.readouterr().out
    assert out.count("it can be lower than validation accuracy") == 1
    for phase in ("head", "thawed"):
        assert re.search(
            rf"  {phase}, epoch 1/1: .*, learning rate [\d.e-]+\n"
            rf"  {phase}: weights of epoch 1 of 1 \(highest validation accuracy\), training accuracy ",
            out,
        )


def run_anew() -> dict[str, bytes]:
    """Run the stage as a new process would; return what it wrote."""
    keras.utils.clear_session()
    finetune.main()
    return written()


def test_the_same_seed_gives_the_same_bytes(here: Path) -> None:
    assert run_anew() == run_anew()


def test_a_head_that_starts_from_the_source_predicts_as_the_source_does(here: Path) -> None:
    set_params(here, {"finetune": {"head": {"initial": "source", "epochs": 0}, "thawed": {"epochs": 0}}})
    finetune.main()
    learned = read_pretrained(Path("data/pretrain"))
    assert learned.classifier is not None
    head = read_model(Path("data/finetune"), Path("data/pretrain"), "head")
    for ours, source in zip(head.get_weights(), learned.classifier, strict=True):
        np.testing.assert_array_equal(ours, source)


def test_a_head_takes_the_sources_classes_by_name() -> None:
    kernel, bias = np.arange(12.0).reshape(4, 3), np.arange(3.0)
    head = build_head(4, classes=2)
    source = Pretrained(as_backbone(head), ["a", "b", "c"], (kernel, bias))
    start_from_source(head, source, "average", ["c", "a"])
    ours, offsets = head.get_layer("classifier").get_weights()
    np.testing.assert_array_equal(ours, kernel[:, [2, 0]])
    np.testing.assert_array_equal(offsets, bias[[2, 0]])
    with pytest.raises(UserError, match="missing: d"):
        start_from_source(head, source, "average", ["a", "d"])


@pytest.mark.parametrize("pooling", ["max", "none"])
def test_a_classifier_of_averages_starts_on_no_other_features(here: Path, pooling: str) -> None:
    backbone = BACKBONES["three_conv_cnn"].build(32)
    classifier = np.zeros((128, 2)), np.zeros(2)
    source = Pretrained(backbone, ["a", "b"], classifier)
    set_params(here, {"finetune": {"head": {"initial": "source"}}})
    params = read_section(Path("params.yaml"), "finetune", Finetune).head
    make_head(params, backbone.architecture, source, "average", ["a", "b"])
    with pytest.raises(UserError, match=f"requires extract.pooling: average, .* received {pooling}"):
        make_head(params, backbone.architecture, source, pooling, ["a", "b"])


def test_half_precision_activations_train_nearly_alike(here: Path) -> None:
    losses = {}
    for precision in ("float32", "float16"):
        set_params(here, {"extract": {"precision": precision}})
        extract.main()
        finetune.main()
        losses[precision] = pd.read_csv("data/finetune/history.csv")["loss"].to_numpy()
    np.testing.assert_allclose(losses["float16"], losses["float32"], rtol=1e-3)
    set_params(here, {"extract": {"precision": "float32"}})
    extract.main()


def written(folder: Path = Path("data/finetune")) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_depth_kept_beside_others_trains_as_it_does_alone(here: Path) -> None:
    depths = ["all", "none", -2]
    set_params(Path(), {"extract": {"freeze": -2, "depths": depths}})
    set_params(Path(), {"finetune": {"head": {"epochs": 1}, "thawed": {"epochs": 1}}})
    extract.main()
    beside = []
    for freeze in [*depths, "extract"]:
        keras.utils.clear_session()  # as a new process has it
        set_params(Path(), {"finetune": {"thawed": {"freeze": freeze}}})
        finetune.main()
        beside.append(written())
    states = [pd.read_csv(io.BytesIO(files["layers.csv"]))["state"] for files in beside]
    assert [int((state == "frozen").sum()) for state in states] == [6, 0, 4, 4]
    assert ["finetuned.weights.h5" in files for files in beside] == [False, True, True, True]
    assert len({files["finetuned.weights.h5"] for files in beside[1:]}) == 2
    assert beside[2] == beside[3]
    assert len({files["head.weights.h5"] for files in beside}) == 1
    set_params(Path(), {"extract": {"depths": []}, "finetune": {"thawed": {"freeze": "extract"}}})
    for freeze, expected in zip(depths, beside, strict=False):
        keras.utils.clear_session()
        set_params(Path(), {"extract": {"freeze": freeze}})
        extract.main()
        finetune.main()
        assert written() == expected, freeze


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"thawed": {"freeze": "none"}},
            "finetune.thawed.freeze: expected 'extract', or a depth whose activations extract.freeze and "
            "extract.depths store (frozen layers: 4); received 'none', which freezes 0. Add it to extract.depths.\n",
        ),
        (
            {"head": {"initial": "source", "hidden": [8]}},
            "finetune.head.hidden: expected [] with initial: source; or set initial: new; received [8]",
        ),
        ({"head": {"learning_rate": 0.0}}, "finetune.head.learning_rate: expected greater than 0; received 0.0"),
        ({"checkpoint": "bset"}, "finetune.checkpoint: expected 'best', 'best_accuracy' or 'last'; received 'bset'"),
        ({"head": {"initial": "source", "batchnorm": True}}, "head.batchnorm: expected false with initial: source"),
        ({"head": {"initial": "source", "output": "sigmoid"}}, "head.output: expected softmax with initial: source"),
        ({"head": {"batchnorm": True}}, "head.batchnorm: expected false with hidden: [], because it follows hidden"),
        (
            {"head": {"hidden": [8, 4], "dropout": [0.5]}},
            "finetune.head.dropout: expected one number, or one for each of hidden: [8, 4]; received [0.5]",
        ),
        ({"head": {"dropout": 1.0}}, "head.dropout: expected a share from 0 to below 1, or a list of them"),
        (
            {"optimizer": {"weight_decay": 0.1}},
            "finetune.optimizer.weight_decay: expected 0 unless name: adamw, the only one that decays",
        ),
        (
            {"schedule": {"kind": "cosine"}},
            "finetune.plateau: expected patience: 0 with schedule.kind: cosine: both lower the learning rate, so "
            "choose one; received {'patience': 5, 'factor': 0.5, 'floor': 0.0}",
        ),
        (
            {"plateau": {"floor": 0.0001}},
            "finetune.plateau: expected a floor below thawed.learning_rate: 0.0001; received {",
        ),
        ({"schedule": {"warmup": 3}}, "finetune.schedule: expected a warmup of fewer epochs than head.epochs: 3"),
        ({"thawed": {"gradual": [{"epoch": 2, "freeze": -2}]}}, "gradual: expected the first step at epoch: 1"),
        (
            {"thawed": {"gradual": [{"epoch": 1, "freeze": "all"}, {"epoch": 1, "freeze": -2}]}},
            "finetune.thawed.gradual: expected epochs in ascending order",
        ),
        (
            {"thawed": {"gradual": [{"epoch": 1, "freeze": "all"}, {"epoch": 4, "freeze": -2}]}},
            "finetune.thawed.gradual: expected the last step within epochs: 3",
        ),
        (
            {"thawed": {"gradual": [{"epoch": 1, "freez": -2}]}},
            "finetune.thawed.gradual.0.freez: unknown key. Did you mean freeze?",
        ),
        (
            {"thawed": {"gradual": [{"epoch": 1, "freeze": "none"}]}},
            "finetune.thawed.gradual: expected at least the 4 layers frozen that finetune.thawed.freeze freezes",
        ),
        (
            {"thawed": {"gradual": [{"epoch": 1, "freeze": "dens"}]}},
            "finetune.thawed.gradual: expected 'all', 'none', a count, or a layer or block of the backbone",
        ),
    ],
)
def test_what_cannot_be_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], said: str
) -> None:
    finetune.main()
    before = Path("data/finetune/finetuned.weights.h5").read_bytes()
    set_params(here, {"finetune": changes})
    with pytest.raises(SystemExit):
        finetune.main()
    assert said in capsys.readouterr().err
    assert Path("data/finetune/finetuned.weights.h5").read_bytes() == before, "a failed run lost the results"


def test_gradual_thawing_gives_one_history_and_says_what_was_thawed(here: Path) -> None:
    gradual = [{"epoch": 1, "freeze": "all"}, {"epoch": 3, "freeze": "dropout"}]
    set_params(here, {"finetune": {"thawed": {"gradual": gradual}}})
    finetune.main()
    history, layers = pd.read_csv("data/finetune/history.csv"), pd.read_csv("data/finetune/layers.csv")
    assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert list(layers["state"]) == ["frozen"] * 5 + ["thawed"]
    for ours, before in zip(weights("finetuned")["dense"], weights("head")["dense"], strict=True):
        np.testing.assert_array_equal(ours, before)


def test_a_head_of_every_kind_of_layer_is_read_back(here: Path) -> None:
    head = {"hidden": [8, 4], "dropout": [0.5, 0.3], "batchnorm": True, "output": "sigmoid"}
    set_params(here, {"finetune": {"head": head, "loss": {"class_weights": "balanced", "label_smoothing": 0.1}}})
    finetune.main()
    test = SplitFile(Path("data/split/test.parquet"))
    logits = whole_network("finetuned").predict(pixels_of(test), verbose=0)
    assert logits.shape == (36, 2)
    assert not logits[:, 0].any()
    assert logits[:, 1].std() > 0


LOGISTIC = {
    "head": {"solver": "logistic", "epochs": 1},
    "schedule": {"warmup": 2},
    "loss": {"class_weights": "balanced"},
}


@pytest.mark.parametrize("output", ["softmax", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_a_logistic_head_is_where_fine_tuning_starts(
    here: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    set_params(here, {"finetune": LOGISTIC})
    set_params(here, {"finetune": {"head": {"output": output}}})
    assert run_anew() == run_anew()
    assert "by 5-fold cross-validation over 16 images), " in capsys.readouterr().out
    history = pd.read_csv("data/finetune/history.csv")
    assert list(history["phase"]) == ["head"] + ["thawed"] * 3
    assert list(history["epoch"]) == [1, 2, 3, 4]
    assert list(history["learning_rate"].isna()) == [True, False, False, False]
    assert history["loss"].iloc[1] < 2 * history["loss"].iloc[0] + 0.1
    check_val()
    # The optimum: each class is predicted as often as it is there.
    rows, labels = (np.load(f"data/extract/train_{name}.npy") for name in ("features", "labels"))
    logits = Graph(onnx.load("data/finetune/head.onnx"), 5)(rows)["logits"]
    shares = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(shares, np.bincount(labels) / len(labels), atol=1e-4)


def test_a_logistic_head_of_unfit_views_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_params(here, {"finetune": LOGISTIC})
    for changes, said in (({"views": "fresh"}, "extract.views"), ({"augment": {"mixup": 0.2}}, "extract.augment")):
        set_params(here, {"extract": {"views": 2, **changes}})
        extract.main()
        with pytest.raises(SystemExit):
            finetune.main()
        assert f"finetune.head.solver: expected gradient, because {said}: " in capsys.readouterr().err


def test_fresh_views_train_the_whole_network_from_the_pixels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {layer.name: layer.get_weights() for layer in read_pretrained(Path("data/pretrain")).backbone.model.layers}
    histories = []
    for views in (1, "fresh"):  # views that are the image itself: both ways train on the same
        set_params(Path(), {"extract": {"views": views, "augment": {"rotation": 0, "shift": 0, "zoom": 0}}})
        extract.main()
        finetune.main()
        head, tuned = weights("head"), weights("finetuned")
        for name, learned in (("conv", False), ("dense", True)):
            np.testing.assert_array_equal(head[name][0], before[name][0])
            assert np.array_equal(tuned[name][0], before[name][0]) != learned
        check_val()
        histories.append(pd.read_csv("data/finetune/history.csv"))
    pd.testing.assert_frame_equal(*histories, rtol=1e-4)
    set_params(Path(), {"finetune": {"thawed": {"freeze": "none"}}})
    with pytest.raises(SystemExit):
        finetune.main()
    said = capsys.readouterr().err
    assert "store (frozen layers: 4); received 'none', which freezes 0. Add it to extract.depths.\n" in said
    set_params(Path(), {"extract": {"depths": ["none"]}})
    extract.main()
    finetune.main()
    assert not np.array_equal(weights("finetuned")["conv"][0], before["conv"][0])
    check_val()


def test_without_validation_images_the_last_epoch_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_project(tmp_path, monkeypatch, {"split": {"val": 0}})
    split.main()
    pretrain.main()
    extract.main()
    with pytest.raises(SystemExit):
        finetune.main()
    assert "finetune.checkpoint: 'best' needs validation images" in capsys.readouterr().err
    assert not list(Path("data").glob(".*"))
    set_params(folder, {"finetune": {"checkpoint": "last"}})
    finetune.main()
    history = pd.read_csv("data/finetune/history.csv")
    assert list(history["kept"]) == [0, 0, 1, 0, 0, 1]
    assert history["val_loss"].isna().all()
    assert not Path("data/finetune/val.parquet").exists()
    assert json.loads(Path("data/finetune/model.json").read_text())["classes"] == ["across", "upright"]


def test_activations_in_half_precision_train_alike(here: Path) -> None:
    histories = []
    for precision in ("float32", "float16"):
        keras.utils.clear_session()
        set_params(Path(), {"extract": {"freeze": -2, "precision": precision}})
        extract.main()
        finetune.main()
        histories.append(pd.read_csv("data/finetune/history.csv"))
    full, half = (history[history["phase"] == "thawed"] for history in histories)
    assert len(full) > 1
    # The bound that params.yaml states.
    np.testing.assert_allclose(half["loss"], full["loss"], rtol=0.01)
    np.testing.assert_allclose(half["val_loss"], full["val_loss"], rtol=0.01)
