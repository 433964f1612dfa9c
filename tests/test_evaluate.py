"""evaluate: what it says of two small models whose every prediction is known beforehand."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from PIL import Image

from stages.compute.graphs.session import Graph
from stages.images.contract import Contract
from stages.images.load import load
from stages.images.split_file import SplitFile, SplitRow, write_split

CLASSES = ["red", "green", "blue"]
SUMMARY = {"images": {"train": 9, "val": 4, "test": 8}, "unused": 5, "rejects": 1, "duplicates": 2}
VAL = pd.DataFrame(
    {
        "class": ["red", "green", "blue", "red"],
        "head_predicted": ["red", "red", "red", "green"],
        "finetuned_predicted": ["red", "green", "blue", "blue"],
        "finetuned_loss": [0.1, 0.2, 0.3, 1.0],
    }
)
READING = {"form": "photo", "polarity": "light_on_dark", "fit": "stretch"}


def picture(color: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 16), color).save(buffer, "PNG")
    return buffer.getvalue()


def put_split(folder: Path, rows: list[tuple[str, tuple[int, int, int]]], classes: list[str]) -> None:
    """Write a test split; a row is an actual class and the color of its image."""
    packed = [
        SplitRow(f"{name}/{number}.png", name, picture(color), 20, 16) for number, (name, color) in enumerate(rows)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_split(folder / "test.parquet", packed, classes, READING)


def put_models(folder: Path) -> None:
    """Write what pretrain, finetune and extract_test hand on.

    Of the two models "head" takes every image for red, and "finetuned" names the strongest color channel.
    """
    from stages.compute.runtime import start

    start(seed=0)
    import keras

    from stages.backbones.pretrained import Pretrained, write_pretrained
    from stages.compute.networks import build_head, build_trainable_part
    from stages.transfer.freeze import Depth
    from stages.transfer.model_pair import ModelPair, write_model_pair
    from stages.transfer.model_pair_keras import write_model
    from tests.helpers.miniature import as_backbone

    pretrain, extract_test, finetune = (folder / "data" / name for name in ("pretrain", "extract_test", "finetune"))
    for path in (pretrain, extract_test, finetune):
        path.mkdir()
    image = keras.Input((8, 8, 3), name="image")
    first = keras.layers.Activation("linear", name="first")(image)
    backbone = keras.Model(image, keras.layers.Activation("linear", name="last")(first), name="eyes")
    write_pretrained(pretrain, Pretrained(as_backbone(backbone)))

    contract = Contract(8, 3, **READING)
    activations = np.stack([load(data, contract) for data in SplitFile(folder / "data/split/test.parquet").images()])
    activations = activations.astype(np.float32) / 255
    features = activations.mean(axis=(1, 2))
    np.save(extract_test / "first.npy", activations)
    np.save(extract_test / "features.npy", features)

    head = build_head(3, classes=3)
    depth = Depth(2, "first")
    write_model_pair(finetune, ModelPair(CLASSES, asdict(contract), "average", depth, json.loads(head.to_json()), True))
    classifier = head.get_layer("classifier")
    classifier.set_weights([np.zeros((3, 3)), np.array([1.0, 0.0, 0.0])])
    write_model(finetune, pretrain, head, "head", features)
    classifier.set_weights([np.eye(3) * 4, np.zeros(3)])
    top = build_trainable_part(as_backbone(backbone), "first", "average", head)
    write_model(finetune, pretrain, top, "finetuned", activations)


ROWS = [
    ("red", (250, 0, 0)),
    ("red", (200, 10, 0)),
    ("red", (0, 0, 255)),  # the fine-tuned model is sure that it is blue
    ("green", (0, 250, 0)),
    ("green", (90, 100, 80)),  # right, but hardly
    ("green", (100, 90, 80)),  # wrong, but unsure
    ("green", (0, 190, 0)),
    ("red", (255, 0, 0)),
]  # no image is blue


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """A folder with a test split, what the frozen part puts out for it and two models, in which evaluate has run."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    put_split(folder / "data/split", ROWS, CLASSES)
    (folder / "data/split/summary.json").write_text(json.dumps(SUMMARY))
    put_models(folder)
    VAL.to_parquet(folder / "data/finetune/val.parquet")
    run_in(folder)
    return folder


@pytest.fixture
def copy(workplace: Path, tmp_path: Path) -> Path:
    """A copy of it in which evaluate has not run."""
    folder = shutil.copytree(workplace, tmp_path / "copy")
    shutil.rmtree(folder / "data/evaluate")
    return folder


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run evaluate, which must end with one line and write nothing; return the line."""
    with pytest.raises(SystemExit):
        run_in(folder)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not (folder / "data/evaluate").exists()
    return said


def run_in(folder: Path) -> None:
    from stages import evaluate

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate.main()


def test_the_scores_are_those_of_the_known_predictions(workplace: Path) -> None:
    scores = json.loads((workplace / "data/evaluate/scores.json").read_text())
    keys = ["accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss", "calibration_error"]
    assert list(scores) == ["test_images", "head", "finetuned", "gain"]
    assert list(scores["head"]) == list(scores["finetuned"]) == keys
    assert list(scores["gain"]) == keys[:3]
    assert scores["test_images"] == 8
    assert scores["head"]["accuracy"] == 4 / 8
    assert scores["finetuned"]["accuracy"] == 6 / 8
    assert scores["gain"]["accuracy"] == 2 / 8
    for model in ("head", "finetuned", "gain"):
        assert scores[model]["accuracy_low"] < scores[model]["accuracy"] < scores[model]["accuracy_high"]
    # head says red each time, with exp(1) / (exp(1) + 2) = 0.5761 confidence, and half of the images are red.
    assert scores["head"]["calibration_error"] == pytest.approx(0.0761, abs=1e-4)
    assert scores["head"]["log_loss"] == pytest.approx((0.5514 + 1.5514) / 2, abs=1e-4)
    assert scores["head"]["macro_f1"] == pytest.approx((2 * 4 / (2 * 4 + 4) + 0) / 2, abs=1e-4)


def test_the_metrics_are_a_handful_of_all_splits(workplace: Path, copy: Path) -> None:
    def metrics(folder: Path) -> dict[str, object]:
        content: dict[str, object] = json.loads((folder / "data/evaluate/metrics.json").read_text())
        return content

    tuned = json.loads((workplace / "data/evaluate/scores.json").read_text())["finetuned"]
    images = {"train": 9, "val": 4, "test": 8, "left_out": 3}
    test = {
        "head_accuracy": 0.5,
        "accuracy": 0.75,
        "low": tuned["accuracy_low"],
        "high": tuned["accuracy_high"],
        "log_loss": tuned["log_loss"],
    }
    val = {"head_accuracy": 0.25, "accuracy": 0.75, "log_loss": 0.4}
    assert metrics(workplace) == {"images": images, "val": val, "test": test}
    (copy / "data/finetune/val.parquet").unlink()  # as where there are no validation images
    run_in(copy)
    assert metrics(copy) == {"images": images, "test": test}


def test_each_test_image_is_listed_with_what_both_models_took_it_for(workplace: Path) -> None:
    table = pd.read_parquet(workplace / "data/evaluate/predictions.parquet")
    assert list(table["class"]) == [name for name, _ in ROWS]
    assert list(table["head_predicted"]) == ["red"] * 8
    assert list(table["finetuned_predicted"]) == ["red", "red", "blue", "green", "green", "red", "green", "red"]
    for model in ("head", "finetuned"):
        probabilities = np.stack(table[f"{model}_probabilities"].to_list())
        assert probabilities.dtype == np.float32
        assert probabilities.sum(axis=1) == pytest.approx(1)
        assert probabilities.max(axis=1) == pytest.approx(table[f"{model}_confidence"])
        own = probabilities[np.arange(8), table["label"]]
        assert table[f"{model}_loss"].to_numpy() == pytest.approx(-np.log(own), rel=1e-5)
    assert set(table["sha256"].str.len()) == {64}


def test_the_tables_hold_every_class_also_one_without_images(workplace: Path) -> None:
    folder = workplace / "data/evaluate"
    per_class = pd.read_csv(folder / "per_class.csv", index_col="class")
    assert list(per_class.index) == CLASSES
    assert list(per_class["images"]) == [4, 4, 0]
    assert per_class.loc["red", "finetuned_recall"] == 0.75
    assert per_class.loc["blue"].eq(0).all()
    confusion = pd.read_csv(folder / "confusion.csv", index_col="actual")
    assert list(confusion.columns) == CLASSES
    assert confusion.to_numpy().tolist() == [[3, 0, 1], [1, 3, 0], [0, 0, 0]]
    outcomes = pd.read_csv(folder / "outcomes.csv")
    assert pd.crosstab(outcomes["actual"], outcomes["predicted"]).loc["red", "blue"] == 1


def test_the_examples_start_with_the_most_confident_mistake(workplace: Path) -> None:
    examples = pd.read_parquet(workplace / "data/evaluate/examples.parquet")
    wrong = examples[examples["kind"] == "wrong"]
    assert list(wrong["source"]) == ["red/2.png", "green/5.png"]
    assert list(wrong["predicted"]) == ["blue", "red"]
    assert wrong["confidence"].is_monotonic_decreasing
    right = examples[examples["kind"] == "right"]
    assert len(right) == 6
    assert (right["class"] == right["predicted"]).all()
    assert "unsure" not in set(examples["kind"])  # there are mistakes


def test_some_examples_show_what_speaks_for_their_class(workplace: Path) -> None:
    examples = pd.read_parquet(workplace / "data/evaluate/examples.parquet")
    shown = examples["evidence"].notna()
    assert examples["kind"][shown].value_counts().to_dict() == {"wrong": 2, "right": 4}
    assert (examples["evidence_actual"].notna() == (shown & (examples["kind"] == "wrong"))).all()
    assert set(examples["method"][shown]) == {"class activation"}
    assert Image.open(io.BytesIO(examples["evidence"][0])).size == (140, 112)
    assert len(examples[examples["kind"] == "sample"]) == 8
    pixel = Image.open(io.BytesIO(examples["picture"].iloc[0])).getpixel((9, 9))
    assert pixel == pytest.approx((0, 0, 255), abs=3)  # a JPEG


def test_the_same_inputs_give_the_same_bytes_and_no_framework_is_needed(
    workplace: Path, copy: Path, project: Path
) -> None:
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(project)!r})\n"
        "sys.modules.update(dict.fromkeys(('tensorflow', 'keras', 'jax', 'torch')))\n"  # None: their import fails
        "from stages.evaluate import main\n"
        "main()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    before, after = (
        {path.name: path.read_bytes() for path in (folder / "data/evaluate").iterdir()} for folder in (workplace, copy)
    )
    assert after == before


def test_batches_change_nothing(workplace: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def graph(model: onnx.ModelProto, batch_size: int) -> Graph:
        sizes.append(batch_size)
        return Graph(model, batch_size)

    monkeypatch.setattr("stages.transfer.model_pair.Graph", graph)
    monkeypatch.setattr(
        "stages.transfer.model_pair.graph_batch_size", lambda _: 3
    )  # 3 + 3 + 2 images instead of 8 at once
    run_in(copy)
    assert sizes == [3, 3]
    before, after = ((folder / "data/evaluate/predictions.parquet").read_bytes() for folder in (workplace, copy))
    assert after == before


def test_where_nothing_was_thawed_the_head_is_both(copy: Path) -> None:
    content = json.loads((copy / "data/finetune/model.json").read_text())
    (copy / "data/finetune/model.json").write_text(json.dumps(content | {"depth": None}))
    for path in [*(copy / "data/finetune").glob("finetuned.*"), copy / "data/extract_test/first.npy"]:
        path.unlink()
    run_in(copy)
    table = pd.read_parquet(copy / "data/evaluate/predictions.parquet")
    assert list(table["finetuned_predicted"]) == ["red"] * 8
    scores = json.loads((copy / "data/evaluate/scores.json").read_text())
    assert list(scores) == ["test_images", "head", "finetuned"]
    assert scores["head"] == scores["finetuned"]
    assert json.loads((copy / "data/evaluate/metrics.json").read_text())["test"]["head_accuracy"] == 0.5


def test_a_head_that_was_never_trained_is_not_compared_with(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((copy / "data/finetune/model.json").read_text())
    (copy / "data/finetune/model.json").write_text(json.dumps(content | {"head_trained": False}))
    run_in(copy)
    written = {name: json.loads((copy / f"data/evaluate/{name}.json").read_text()) for name in ("scores", "metrics")}
    assert list(written["scores"]) == ["test_images", "finetuned"]
    assert [key for split in ("val", "test") for key in written["metrics"][split] if "head" in key] == []
    for file in ("predictions.parquet", "per_class.csv"):
        path = copy / "data/evaluate" / file
        columns = (pd.read_csv if path.suffix == ".csv" else pd.read_parquet)(path).columns
        assert [name for name in columns if name.startswith("head")] == [], file
    said = capsys.readouterr().out
    assert "8 test images: fine-tuned 75.0 % (" in said
    assert "gain" not in said


OTHER_IMAGES = "data/extract_test was computed from other images than data/split/test.parquet. Run `dvc repro`."


@pytest.mark.parametrize(
    ("rows", "classes", "says"),
    [
        ([("cat", (1, 2, 3))] * 8, ["cat", "dog"], "the model knows"),
        ([("red", (1, 2, 3))] * 8, ["blue", "green", "red"], "the model knows"),
        ([], CLASSES, OTHER_IMAGES),
        (ROWS[:7], CLASSES, OTHER_IMAGES),
    ],
)
def test_a_test_split_that_does_not_fit_is_refused(
    rows: list[tuple[str, tuple[int, int, int]]],
    classes: list[str],
    says: str,
    copy: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_split(copy / "data/split", rows, classes)
    assert says in refused(copy, capsys)


def test_outputs_that_are_of_other_images_for_one_model_are_refused(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    activations = np.load(copy / "data/extract_test/first.npy")
    np.save(copy / "data/extract_test/first.npy", np.concatenate([activations, activations[:1]]))
    assert "was computed from other images than" in refused(copy, capsys)


def test_a_model_whose_training_diverged_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx
    from onnx import numpy_helper

    file = copy / "data/finetune/finetuned.onnx"
    model = onnx.load(file)
    for weights in model.graph.initializer:
        array = numpy_helper.to_array(weights)
        weights.CopyFrom(numpy_helper.from_array(np.full_like(array, np.nan), weights.name))
    onnx.save(model, file)
    assert "the training diverged, or a file is damaged" in refused(copy, capsys)


def test_a_missing_or_broken_model_is_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = copy / "data/finetune/finetuned.onnx"
    file.write_bytes(file.read_bytes()[:50])
    assert "finetuned.onnx: expected an ONNX graph, received: " in refused(copy, capsys)
    (copy / "data/finetune/model.json").unlink()
    assert "data/finetune/model.json is missing. Run `dvc repro finetune`, or `dvc pull`." in refused(copy, capsys)
