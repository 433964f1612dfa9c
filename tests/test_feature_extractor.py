"""Where the frozen part and the graphs run: ONNX Runtime on a CPU, the framework on a GPU that it cannot use."""

from pathlib import Path

import numpy as np
import pytest

from stages import evaluate, extract, extract_test, finetune, pretrain, split
from stages.base.arrays import ArrayFile
from stages.compute.architecture import read_architecture
from stages.transfer.feature_extractor import graph_batch_size, open_feature_extractor
from stages.transfer.model_pair import predict, read_model_pair
from tests.conftest import PROJECT
from tests.helpers.copies import run
from tests.helpers.small import prepared_project

PRETRAIN, FINETUNE, EXTRACT_TEST = Path("data/pretrain"), Path("data/finetune"), Path("data/extract_test")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project that has run up to evaluate."""
    stages = (split, pretrain, extract, extract_test, finetune, evaluate)
    return prepared_project(tmp_path_factory.mktemp("prepared"), *stages)


@pytest.fixture
def gpu(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that the framework can use and ONNX Runtime cannot."""
    monkeypatch.chdir(prepared)
    monkeypatch.setattr("stages.compute.runtime.on_gpu", lambda: True)
    for module in ("feature_extractor", "model_pair"):
        monkeypatch.setattr(f"stages.transfer.{module}.count_gpus", lambda: 1)


def pixels() -> np.ndarray:
    shape = read_architecture(PRETRAIN).pixels
    return np.random.default_rng(0).integers(0, 256, (5, *shape), np.uint8)


@pytest.mark.parametrize("runner", [None, "auto"], ids=["measuring", "training"])
def test_on_a_gpu_the_framework_gives_what_the_graph_gives(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, runner: str | None
) -> None:
    monkeypatch.chdir(prepared)
    kept = ["pixels", "flatten", "features"]
    graph = open_feature_extractor(PRETRAIN, kept, "average", runner)
    expected = graph.run(pixels())
    request.getfixturevalue("gpu")
    framework = open_feature_extractor(PRETRAIN, kept, "average", runner)
    assert graph.device == "ONNX Runtime on the CPU"
    assert "float32" in framework.device
    found = framework.run(pixels())
    assert set(found) == set(expected) == set(kept)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_on_a_gpu_evaluate_measures_the_same(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(prepared)
    finetuned = read_model_pair(FINETUNE)
    outputs = {name: ArrayFile(EXTRACT_TEST / f"{name}.npy") for name in map(finetuned.input_of, ("head", "finetuned"))}
    expected = predict(FINETUNE, PRETRAIN, outputs)
    request.getfixturevalue("gpu")
    found = predict(FINETUNE, PRETRAIN, outputs)
    for name, values in expected.items():
        assert np.std(values) > 0.01
        np.testing.assert_allclose(found[name], values, atol=1e-4)


def test_a_gpu_that_the_framework_does_not_see_is_said(
    gpu: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stages.compute.runtime.on_gpu", lambda: False)
    frozen = open_feature_extractor(PRETRAIN, ["features"], "average", "auto")
    assert frozen.device == "ONNX Runtime on the CPU"
    assert (
        "does not see the GPU of this machine, so the CPU computes: pip install -e '.[gpu]'" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("changes", "where"), [({"runner": "keras"}, "float32"), ({"precision": "bfloat16"}, "bfloat16")]
)
def test_the_framework_computes_where_it_is_asked_to(prepared: Path, changes: dict[str, str], where: str) -> None:
    """In a process of its own: oneDNN is told at its start whether there will be bfloat16."""
    code = (
        "from pathlib import Path; import numpy as np; from stages.compute.backend import choose_backend; "
        "from stages.transfer.feature_extractor import open_feature_extractor; "
        "from stages.compute.architecture import read_architecture; "
        f"changes = {changes}; choose_backend('tensorflow', changes.get('precision', 'float32')); "
        "folder = Path('data/pretrain'); frozen = open_feature_extractor(folder, ['features'], 'average', **changes); "
        "pixels = np.zeros((5, *read_architecture(folder).pixels), np.uint8); "
        "print(frozen.device, frozen.run(pixels)['features'].shape)"
    )
    said = run("python", "-c", code, cwd=prepared, PYTHONPATH=str(PROJECT))
    assert said.endswith(f"in {where} on 1 device (5, 128)\n")


def test_nothing_runs_where_pixels_alone_are_kept(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prepared)
    frozen = open_feature_extractor(PRETRAIN, ["pixels"], "average", "auto")
    np.testing.assert_array_equal(frozen.run(pixels())["pixels"], pixels())


def test_larger_images_come_fewer_at_a_time() -> None:
    from stages.backbones.registry import BACKBONES

    small, large = (graph_batch_size(BACKBONES["vgg16"].build(side).architecture) for side in (32, 512))
    assert small > large >= 1
