"""extract: the frozen part runs once per image and view; what is kept is what the network would compute."""

import json
from pathlib import Path

import numpy as np
import pytest

from stages import extract, pretrain, split
from stages.base.stage import UserError
from stages.images.contract import Contract
from stages.images.load import load
from stages.images.packed import Packed
from stages.network.build import bottom
from stages.network.kept import stored
from stages.network.pretrained import read_pretrained
from tests.copies import set_params
from tests.small import prepared_project


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project whose split and pretrain have run."""
    return prepared_project(tmp_path_factory.mktemp("prepared"), split, pretrain)


def kept(name: str) -> np.ndarray:
    return np.load(f"data/extract/{name}.npy")


def test_what_is_kept_is_what_the_network_computes(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prepared)
    set_params(prepared, {"extract": {"freeze": -2, "views": 3, "precision": "float32", "batch_size": 64}})
    extract.main()
    description = json.loads(Path("data/extract/boundary.json").read_text())
    assert (description["frozen"], description["layer"], description["classes"]) == (
        4,
        "flatten",
        ["across", "upright"],
    )
    train, val = Packed(Path("data/split/train.parquet")), Packed(Path("data/split/val.parquet"))
    np.testing.assert_array_equal(kept("train_labels"), np.repeat(train.labels(), 3))
    np.testing.assert_array_equal(kept("val_labels"), val.labels())
    pixels = np.stack([load(data, Contract(**description["contract"])) for data in train.images()])
    network = bottom(read_pretrained(Path("data/pretrain")).backbone, "unit", "flatten", "average")
    activations, features = network.predict_on_batch(pixels)
    assert np.std(activations) > 0.01
    np.testing.assert_allclose(kept("train_activations")[::3], activations, atol=1e-5)  # view 0 is the image itself
    np.testing.assert_allclose(kept("train_features")[::3], features, atol=1e-5)
    assert not np.allclose(kept("train_features")[1::3], features, atol=1e-3)


def test_the_batch_size_does_not_matter(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prepared)
    results = []
    for size in (3, 64):
        set_params(prepared, {"extract": {"freeze": -2, "views": 2, "batch_size": size}})
        extract.main()
        results.append([kept(name) for name in ("train_activations", "train_features", "val_features")])
    for small, large in zip(*results, strict=True):
        np.testing.assert_allclose(small, large, atol=1e-5)


def test_half_precision_is_half_the_disk_and_close(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prepared)
    results = {}
    for precision in ("float32", "float16"):
        set_params(prepared, {"extract": {"freeze": -2, "precision": precision}})
        extract.main()
        results[precision] = kept("train_activations")
    assert results["float16"].nbytes * 2 == results["float32"].nbytes
    np.testing.assert_allclose(results["float16"], results["float32"], rtol=1e-3, atol=1e-4)


def test_what_half_precision_cannot_hold_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"extract.precision: float16 cannot hold activations of 7e\+04. Set it to float32"
    ):
        stored(np.array([1.0, 7e4], dtype=np.float32), "float16")


@pytest.mark.parametrize(("freeze", "activations"), [("all", None), ("none", np.uint8)])
def test_all_frozen_keeps_features_and_none_frozen_keeps_pixels(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, freeze: str, activations: type | None
) -> None:
    monkeypatch.chdir(prepared)
    set_params(prepared, {"extract": {"freeze": freeze}})
    extract.main()
    assert kept("train_features").shape == (32, 128)
    if activations is None:
        assert not Path("data/extract/train_activations.npy").exists()
    else:
        assert (kept("train_activations").dtype, kept("train_activations").shape) == (activations, (32, 16, 16, 1))


def test_a_layer_that_does_not_exist_is_named(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(prepared)
    set_params(prepared, {"extract": {"freeze": "dens"}})
    with pytest.raises(SystemExit):
        extract.main()
    assert "extract.freeze: expected 'all', 'none', a count, or a layer" in (said := capsys.readouterr().err)
    assert "received 'dens'. Did you mean dense?" in said
