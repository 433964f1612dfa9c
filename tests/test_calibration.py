"""finetune.calibrate: a temperature makes a model less or more sure, and changes nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import evaluate, extract, extract_test, finetune, pretrain, split
from stages.compute.graphs.edit import read
from stages.compute.graphs.session import Graph
from stages.compute.networks import build_head
from stages.compute.saving import to_config
from stages.measure.metrics import measure_calibration
from stages.measure.predictions import compute_losses, softmax
from stages.measure.temperature import HIGHEST, fit_temperature
from stages.transfer.calibration import Calibration, read_calibration
from stages.transfer.model_pair import ModelPair, join_graphs, write_model_pair
from stages.transfer.model_pair_keras import divide_logits, read_model, write_model
from tests.conftest import Refusal
from tests.helpers.copies import set_params
from tests.helpers.small import prepared_project

FINETUNE, PRETRAIN = Path("data/finetune"), Path("data/pretrain")


def draw(images: int, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, and logits that are exactly as sure as they are right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (images, classes))
    return np.array([rng.choice(classes, p=row) for row in softmax(logits)]), logits


@pytest.mark.parametrize("times", [0.3, 1.0, 5.0])
def test_the_temperature_undoes_what_made_a_model_too_sure_or_not_sure_enough(times: float) -> None:
    labels, logits = draw(5000)
    fitted = fit_temperature(labels, times * logits)
    assert fitted.value == pytest.approx(times, rel=0.05)
    assert (fitted.images, fitted.limit) == (5000, "")
    assert measure_calibration(labels, softmax(times * logits / fitted.value), 15) < 0.03


def test_it_is_the_lowest_loss_and_never_a_higher_one_than_without_it() -> None:
    for seed in range(30):
        labels, logits = draw(12, seed=seed)
        logits *= [0.1, 1.0, 20.0][seed % 3]
        fitted = fit_temperature(labels, logits)

        def loss(temperature: float) -> float:
            return float(compute_losses(labels, softmax(logits / temperature)).mean())  # noqa: B023

        assert fitted.before == loss(1.0)
        assert fitted.after == loss(fitted.value) <= fitted.before
        if not fitted.limit:
            assert fitted.after <= min(loss(fitted.value * by) for by in (0.98, 1.02)) + 1e-9


def test_images_without_a_mistake_do_not_make_a_model_certain() -> None:
    labels, logits = draw(40)
    labels = logits.argmax(axis=1)
    fitted = fit_temperature(labels, logits)
    assert softmax(logits / fitted.value).max(axis=1).mean() == pytest.approx(41 / 42, abs=1e-3)
    assert fitted.value < 1
    assert fitted.limit == "40 images support a mean confidence of 97.6 % at most"
    sure = fit_temperature(labels, 50 * logits)  # more so than that already, and right: nothing says it is too sure
    assert sure.value == 1
    assert sure.before == sure.after


def test_a_model_no_better_than_chance_is_made_unsure_up_to_a_limit() -> None:
    labels, logits = draw(60)
    fitted = fit_temperature(labels, -logits)
    assert fitted.value == pytest.approx(HIGHEST, rel=1e-3)
    assert "no better than chance" in fitted.limit


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_the_weights_and_bias_of_the_classifier_hold_it(output: str, tmp_path: Path) -> None:
    head = build_head(5, classes=2, hidden=[3], output=output)
    for variable in head.weights:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    rows = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    write_model_pair(tmp_path, ModelPair(["a", "b"], {}, "average", None, to_config(head), True))
    write_model(tmp_path, tmp_path, head, "head", rows)
    divide_logits(tmp_path, tmp_path, "head", 2.5, rows)
    expected = np.asarray(head(rows)) / 2.5
    assert np.ptp(expected) > 0.1
    for logits in (
        read_model(tmp_path, tmp_path, "head")(rows),
        Graph(read(tmp_path / "head.onnx"), 7)(rows)["logits"],
    ):
        assert np.asarray(logits) == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small project in which the models are not calibrated, and a copy in which they are."""
    plain = tmp_path_factory.mktemp("both") / "plain"
    plain.mkdir()
    prepared_project(plain, split, pretrain, extract, extract_test)
    set_params(plain, {"finetune": {"head": {"epochs": 8, "learning_rate": 0.03}}})
    calibrated = shutil.copytree(plain, plain.with_name("calibrated"))
    set_params(calibrated, {"finetune": {"calibrate": "temperature"}})
    for folder in (plain, calibrated):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            finetune.main()
            evaluate.main()
    return plain, calibrated


def predictions(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    files = ("data/finetune/val.parquet", "data/evaluate/predictions.parquet")
    val, test = (pd.read_parquet(folder / file) for file in files)
    return val, test


def probabilities(table: pd.DataFrame, model: str) -> np.ndarray:
    return np.stack(table[f"{model}_probabilities"].to_list()).astype(float)


def test_it_changes_no_prediction_and_the_validation_loss_only_for_the_better(both: tuple[Path, Path]) -> None:
    temperatures = read_calibration(both[1] / FINETUNE).temperatures
    assert set(temperatures) == {"head", "finetuned"}
    assert read_calibration(both[0] / FINETUNE) == Calibration(0, {})
    for plain, calibrated in zip(*map(predictions, both), strict=True):
        for model, temperature in temperatures.items():
            assert temperature != 1
            before, after = (probabilities(table, model) for table in (plain, calibrated))
            assert np.array_equal(before.argsort(axis=1), after.argsort(axis=1))
            assert after == pytest.approx(softmax(np.log(before) / temperature), abs=1e-5)
    before, after = (predictions(folder)[0] for folder in both)
    for model in temperatures:
        assert after[f"{model}_loss"].mean() < before[f"{model}_loss"].mean()


def test_the_history_is_that_of_the_model_before(both: tuple[Path, Path]) -> None:
    assert len({(folder / FINETUNE / "history.csv").read_bytes() for folder in both}) == 1


def test_evaluate_measures_the_test_images_without_and_with_it(both: tuple[Path, Path]) -> None:
    plain, calibrated = (json.loads((folder / "data/evaluate/scores.json").read_text()) for folder in both)
    for model in ("head", "finetuned"):
        for name in ("log_loss", "calibration_error"):
            assert calibrated[model][f"uncalibrated_{name}"] == pytest.approx(plain[model][name], abs=2e-5)
            assert calibrated[model][name] != plain[model][name]
        assert calibrated[model]["accuracy"] == plain[model]["accuracy"]
        assert "temperature" not in plain[model]
    before, after = (pd.read_csv(folder / "data/evaluate/reliability.csv") for folder in both)
    assert after[after["calibrated"] == 0]["images"].tolist() == before["images"].tolist()
    assert after[after["calibrated"] == 1]["images"].sum() == before["images"].sum()


def test_the_whole_graph_holds_it(both: tuple[Path, Path]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1), dtype=np.uint8)
    plain, calibrated = (
        Graph(join_graphs(folder / FINETUNE, folder / PRETRAIN), 4)(pixels)["thawed/logits"] for folder in both
    )
    assert calibrated * read_calibration(both[1] / FINETUNE).temperatures["finetuned"] == pytest.approx(plain, rel=1e-4)


def test_without_validation_images_it_is_refused(
    both: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    folder = shutil.copytree(both[1], tmp_path / "project")
    monkeypatch.chdir(folder)
    set_params(folder, {"split": {"val": 0}, "finetune": {"checkpoint": "last"}})
    for stage in (split, extract):
        stage.main()
    said = "finetune.calibrate: 'temperature' needs validation images, and split.val left none. Set it to none."
    assert said in refused(finetune.main)
    assert (folder / FINETUNE / "calibration.json").exists()  # what was there stays
