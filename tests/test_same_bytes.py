"""The same bytes on one core and on two, from pretrain to evaluate."""

import os
import shutil
from pathlib import Path

import keras
import pytest

from stages import split
from stages.backbones.registry import BACKBONES
from tests.conftest import PROJECT
from tests.helpers.copies import run, set_params
from tests.helpers.published import vary, write_published
from tests.helpers.small import small_project

STAGES = ("pretrain", "extract", "extract_test", "finetune", "evaluate")
NETWORKS: dict[str, dict[str, dict[str, object]]] = {
    "mnist_cnn": {},
    "mnist_cnn in JAX": {"compute": {"backend": "jax"}},
    "mobilenet_v2_035": {
        "pretrain": {"backbone": "mobilenet_v2_035", "image_size": 64, "source": "data/own/weights.h5"},
        "extract": {"freeze": "block_13"},
        "finetune": {"thawed": {"batchnorm": "train"}},
    },
}


@pytest.mark.skipif(
    shutil.which("taskset") is None or (os.cpu_count() or 1) < 2,
    reason="needs two cores, and taskset to use one of them",
)
@pytest.mark.parametrize(
    "network",
    [
        pytest.param(name, marks=[pytest.mark.jax, pytest.mark.exhaustive] if "JAX" in name else pytest.mark.slow)
        for name in NETWORKS
    ],
)
def test_one_core_gives_the_bytes_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str) -> None:
    small_project(tmp_path / "two", monkeypatch, {"finetune": {"head": {"hidden": [16], "dropout": 0.3}}})
    set_params(tmp_path / "two", NETWORKS[network])
    if network in BACKBONES and network != "mnist_cnn":
        keras.utils.set_random_seed(1)
        backbone = BACKBONES[network].build(64).model
        vary(backbone)
        write_published(backbone.layers, Path("data/own/weights.h5"))
    split.main()
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    results = []
    for name, cores in (("two", "0,1"), ("one", "0")):
        here = tmp_path / name
        for stage in STAGES:
            command = ("taskset", "-c", cores, "python", "-m", f"stages.{stage}")
            run(*command, cwd=here, PYTHONPATH=str(PROJECT))
        files = sorted(file for stage in STAGES for file in (here / "data" / stage).rglob("*") if file.is_file())
        results.append({str(file.relative_to(here)): file.read_bytes() for file in files})
    two, one = results
    assert two.keys() == one.keys()
    assert [name for name, content in two.items() if content != one[name]] == []
    assert any(name.endswith("finetuned.weights.h5") for name in two)
