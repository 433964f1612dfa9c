"""evaluate: what it says of two small models whose every prediction is known beforehand."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.images.packed import Row, write
from tests.copies import set_params

CLASSES = ["red", "green", "blue"]
READING = {"form": "photo", "polarity": "light_on_dark", "fit": "stretch"}


def picture(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()


def put_split(folder: Path, rows: list[tuple[str, tuple[int, int, int]]], classes: list[str]) -> None:
    """Write a test split; a row is an actual class and the colour of its image."""
    packed = [Row(f"{name}/{number}.png", name, picture(colour), 20, 16) for number, (name, colour) in enumerate(rows)]
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "test.parquet", packed, classes, READING)


def put_models(folder: Path) -> None:
    """Write two models: "head" takes every image for red, "finetuned" names the strongest colour channel."""
    from stages.network.runtime import start

    start(seed=0)
    import keras
    from stages.network.store import Cut, write_model, write_weights

    from stages.network import build

    image = keras.Input((8, 8, 3), name="image")
    backbone = keras.Model(image, keras.layers.Activation("linear", name="last")(image), name="eyes")
    head = build.head(3, [], 0.0, 3)
    model = build.network(backbone, "unit", "average", head)
    folder.mkdir(parents=True)
    cut = Cut(backbone.name, "unit", ["features"], "average")
    write_model(folder, model, CLASSES, {"size": 8, "channels": 3, **READING}, cut)
    head.get_layer("classifier").set_weights([np.zeros((3, 3)), np.array([1.0, 0.0, 0.0])])
    write_weights(folder, model, "head")
    head.get_layer("classifier").set_weights([np.eye(3) * 4, np.zeros(3)])
    write_weights(folder, model, "finetuned")


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
    """A folder with a test split and two models, in which evaluate has run."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    put_split(folder / "data/split", ROWS, CLASSES)
    put_models(folder / "data/finetune")
    run_in(folder)
    return folder


def run_in(folder: Path) -> None:
    from stages import evaluate

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate.main()


def test_the_metrics_are_those_of_the_known_predictions(workplace: Path) -> None:
    metrics = json.loads((workplace / "data/evaluate/metrics.json").read_text())
    keys = ["accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss", "calibration_error"]
    assert list(metrics) == ["test_images", "head", "finetuned", "gain"]
    assert list(metrics["head"]) == list(metrics["finetuned"]) == keys
    assert list(metrics["gain"]) == keys[:3]
    assert metrics["test_images"] == 8
    assert metrics["head"]["accuracy"] == 4 / 8
    assert metrics["finetuned"]["accuracy"] == 6 / 8
    assert metrics["gain"]["accuracy"] == 2 / 8
    for model in ("head", "finetuned", "gain"):
        assert metrics[model]["accuracy_low"] < metrics[model]["accuracy"] < metrics[model]["accuracy_high"]
    # head says red each time, with exp(1) / (exp(1) + 2) = 0.5761 confidence, and half of the images are red.
    assert metrics["head"]["calibration_error"] == pytest.approx(0.0761, abs=1e-4)
    assert metrics["head"]["log_loss"] == pytest.approx((0.5514 + 1.5514) / 2, abs=1e-4)
    assert metrics["head"]["macro_f1"] == pytest.approx((2 * 4 / (2 * 4 + 4) + 0) / 2, abs=1e-4)


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
    assert len(examples[examples["kind"] == "sample"]) == 8
    pixel = Image.open(io.BytesIO(examples["picture"].iloc[0])).getpixel((9, 9))
    assert pixel == pytest.approx((0, 0, 255), abs=3)  # a JPEG


def test_the_same_inputs_give_the_same_bytes(workplace: Path) -> None:
    before = {path.name: path.read_bytes() for path in (workplace / "data/evaluate").iterdir()}
    run_in(workplace)
    assert {path.name: path.read_bytes() for path in (workplace / "data/evaluate").iterdir()} == before


def test_batches_change_nothing(workplace: Path) -> None:
    before = (workplace / "data/evaluate/predictions.parquet").read_bytes()
    shutil.rmtree(workplace / "data/.kept-evaluate")
    set_params(workplace, {"compute": {"batch_size": 3}})  # 3 + 3 + 2 images instead of 8 at once
    run_in(workplace)
    assert (workplace / "data/evaluate/predictions.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("rows", "classes", "says"),
    [
        ([("cat", (1, 2, 3))], ["cat", "dog"], "the model knows"),
        ([("red", (1, 2, 3))], ["blue", "green", "red"], "the model knows"),
        ([], CLASSES, "holds no image"),
    ],
)
def test_a_test_split_that_does_not_fit_is_refused(
    rows: list[tuple[str, tuple[int, int, int]]],
    classes: list[str],
    says: str,
    workplace: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "params.yaml").write_bytes((workplace / "params.yaml").read_bytes())
    put_split(tmp_path / "data/split", rows, classes)
    (tmp_path / "data/finetune").symlink_to(workplace / "data/finetune")
    with pytest.raises(SystemExit):
        run_in(tmp_path)
    assert says in capsys.readouterr().err
    assert not (tmp_path / "data/evaluate").exists()


def test_a_model_whose_training_diverged_is_refused(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from stages.network.store import read_model, write_weights

    (tmp_path / "data").mkdir()
    (tmp_path / "params.yaml").write_bytes((workplace / "params.yaml").read_bytes())
    (tmp_path / "data/split").symlink_to(workplace / "data/split")
    shutil.copytree(workplace / "data/finetune", tmp_path / "data/finetune")
    model, _ = read_model(tmp_path / "data/finetune", "finetuned")
    model.get_layer("head").get_layer("classifier").set_weights([np.full((3, 3), np.nan), np.zeros(3)])
    write_weights(tmp_path / "data/finetune", model, "finetuned")
    with pytest.raises(SystemExit):
        run_in(tmp_path)
    assert "its training diverged" in capsys.readouterr().err


def test_the_frozen_part_does_not_run_again(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_in(workplace)
    before = (workplace / "data/evaluate/predictions.parquet").read_bytes()
    capsys.readouterr()
    with monkeypatch.context() as blind:
        blind.setattr("stages.evaluate.load_all", lambda *_: iter(()))  # no image can be opened
        run_in(workplace)
    assert "it does not run again" in capsys.readouterr().out
    assert (workplace / "data/evaluate/predictions.parquet").read_bytes() == before


def test_other_images_or_half_a_file_are_no_reason_to_trust_what_was_kept(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(workplace, tmp_path / "project")
    run_in(tmp_path / "project")
    capsys.readouterr()
    kept = tmp_path / "project/data/.kept-evaluate"
    (kept / "run.json").unlink()  # killed before the end
    (kept / "features.npy").write_bytes(b"")
    run_in(tmp_path / "project")
    put_split(tmp_path / "project/data/split", [("green", (0, 250, 0))] * 2, CLASSES)
    run_in(tmp_path / "project")
    assert "again" not in capsys.readouterr().out
    assert len(pd.read_parquet(tmp_path / "project/data/evaluate/predictions.parquet")) == 2
