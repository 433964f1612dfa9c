"""export.unknown: the distance from what was learned, as NumPy computes it and as a graph does."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import ledoit_wolf

from stages import evaluate, export, extract, extract_test, finetune, pretrain, split
from stages.base.errors import UserError
from stages.formats.card import read_card
from stages.formats.runner import Runner
from stages.formats.unknown import LEAST, add_distance, refuse_few
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.split_file import SplitFile
from stages.measure.distance import choose_limit, fit_distance, normalize
from stages.tools import predict
from tests.helpers.copies import set_params
from tests.helpers.small import prepared_project


def draw(images: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features of three classes, which differ more in some directions than in others, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    rows = rng.normal(size=(images, features)) * np.linspace(0.1, 2, features) + np.eye(3, features)[labels] * 6 + 3
    return rows, labels


@pytest.mark.parametrize(("images", "features"), [(30, 80), (400, 20)])
def test_it_is_the_distance_from_the_nearest_mean_by_the_shrunk_covariance(images: int, features: int) -> None:
    rows, labels = draw(images, features)
    distance = fit_distance(rows, labels)
    unit = normalize(rows)
    means = np.stack([unit[labels == label].mean(axis=0) for label in range(3)])
    inverse = np.linalg.inv(ledoit_wolf(unit - means[labels], assume_centered=True)[0])
    others = draw(50, features, seed=1)[0]
    expected = cdist(normalize(others), means, "mahalanobis", VI=inverse).min(axis=1) ** 2
    found = distance(others)
    assert found / found.mean() == pytest.approx(expected / expected.mean(), rel=1e-6)
    assert distance.divide(4.0)(others) == pytest.approx(found / 4)
    distances = distance(np.stack([-rows[0], 0 * rows[0]]))
    assert (distances > distance(rows).max()).all()  # the opposite of all that was learned, and nothing at all


def test_the_graph_computes_it() -> None:
    distance = fit_distance(*draw(30, 80))
    rows = draw(9, 80, seed=2)[0].astype(np.float32)
    given = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["n", 80])
    same = onnx.helper.make_node("Identity", ["rows"], ["same"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([same], "test", [given], []),
        opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    add_distance(model, "same", distance)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert session.run(["distance"], {"rows": rows})[0] == pytest.approx(distance(rows), rel=1e-4)


def test_the_limit_is_one_that_a_further_image_seldom_exceeds() -> None:
    rng = np.random.default_rng(0)
    lost = [np.mean(rng.random(1000) > choose_limit(rng.random(39), 0.05)) for _ in range(300)]
    assert np.mean(lost) == pytest.approx(0.05, abs=0.01)
    assert choose_limit(np.arange(19.0), 0.05) == 18
    assert choose_limit(np.arange(18.0), 0.05) is None
    refuse_few(LEAST)
    with pytest.raises(UserError, match=r"export\.unknown: expected 19 or more validation images"):
        refuse_few(LEAST - 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with thawed layers whose ONNX file tells unknown images."""
    folder = tmp_path_factory.mktemp("exported")
    prepared_project(folder)
    set_params(folder, {"split": {"val": 12}, "export": {"unknown": "mahalanobis"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in (split, pretrain, extract, extract_test, finetune, evaluate, export):
            stage.main()
    return folder


def test_an_exported_file_tells_black_images_from_what_it_learned(exported: Path) -> None:
    runner = Runner(exported / "data/export")
    card = read_card(exported / "data/export")
    assert card.unknown["output"] == "distance"
    assert (card.unknown["training_images"], card.unknown["validation_images"]) == (16, 24)
    validation = SplitFile(exported / "data/split/val.parquet")
    own = np.stack(list(load_all(validation.images(), Contract(**card.contract.__dict__))))
    _, distances = runner.predict(own)
    assert distances is not None
    assert (distances > 1).sum() <= 1  # the limit is the 24th of them
    assert distances.max() == pytest.approx(1, abs=1e-4)
    black = runner.predict(np.zeros_like(own))[1]
    assert black is not None
    assert (black > 1).all()
    parity = json.loads((exported / "data/export/parity.json").read_text())["formats"]["onnx"]
    assert 0 <= parity["taken_for_unknown"] <= 1


@pytest.mark.parametrize("freeze", [pytest.param("all", marks=pytest.mark.slow), "none"])
def test_it_is_the_frozen_networks_wherever_it_was_cut(freeze: str, exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "project")
    set_params(folder, {"extract": {"freeze": freeze}, "finetune": {"head": {"epochs": 1}, "thawed": {"epochs": 1}}})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in (extract, extract_test, finetune, evaluate, export):
            stage.main()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1), dtype=np.uint8)
    expected, found = (Runner(place / "data/export").predict(pixels)[1] for place in (exported, folder))
    assert found == pytest.approx(expected, rel=1e-4)


def test_predict_shows_what_is_unknown(
    exported: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = sorted((exported / "data/own/bars/across").glob("*.png"))[0]
    (rows,) = (predict.make_rows([result], side_by_side=True) for result in [
        predict.make_result(Path("00.png"), np.array([0.9, 0.1]), 1.25, ["a", "b"], 1)
    ])  # fmt: skip
    assert list(rows) == [["image", "distance", "class", "probability"], ["00.png", "1.25 unknown", "a", "0.9000"]]
    monkeypatch.chdir(exported)
    monkeypatch.setattr("sys.argv", ["predict", str(known), "--json"])
    with pytest.raises(SystemExit) as ended:
        predict.main()
    assert ended.value.code == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["unknown"] == (result["distance"] > 1)
