"""A backbone that is an ONNX network of one's own: what is read beside it, what it allows, and every stage with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stages import evaluate, export, extract, extract_test, finetune, pretrain, split
from stages.backbones.own_graph import read_own_graph
from stages.backbones.pretrained import read_pretrained
from stages.backbones.source import find_source
from stages.base.errors import UserError
from stages.base.params import read_section
from stages.schema.pretrain import Pretrain
from tests.helpers.foreign import SIDE, make_network, save
from tests.helpers.small import small_project

FOLDER, FILE = Path("data/own/network"), Path("data/own/network.onnx")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
ONNX = {
    "pretrain": {"backbone": "source", "source": str(FILE), "pixels": "0-1", "image_size": SIDE},
    "extract": {"freeze": "all", "views": 2, "depths": []},
    "export": {"formats": ["onnx"]},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return small_project(tmp_path, monkeypatch, ONNX)


def read(**changes: object) -> Any:
    """Return the backbone that params.yaml names."""
    params = read_section(Path("params.yaml"), "pretrain", Pretrain).model_copy(update=changes)
    return read_own_graph(params, find_source(params))


def refused(**changes: object) -> str:
    with pytest.raises(UserError) as found:
        read(**changes)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_every_stage_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(make_network("tokens"), FILE)
    for one in (split, pretrain, extract, extract_test, finetune, evaluate, export):
        one.main()
    said = capsys.readouterr().out
    assert "network.onnx, 390 parameters; its output: tokens, 17 tokens of 6 numbers" in said
    assert "frozen part: ONNX Runtime on the CPU" in said
    assert "nothing is thawed" in said
    parity = json.loads(Path("data/export/parity.json").read_text())
    assert parity["formats"]["onnx"]["largest_difference"] < 1e-5
    assert sorted(path.name for path in Path("data/pretrain").iterdir()) == [
        "backbone.onnx",
        "metrics.json",
        "network.json",
    ]
    features = np.load("data/extract/train_features.npy")
    assert features.shape == (32, 6)
    assert features.std() > 0.01
    model = onnx.load("data/export/model.onnx")
    assert {each.domain: each.version for each in model.opset_import} == {"": 18}
    with pytest.raises(UserError, match="data/pretrain holds an ONNX network, which can only be run"):
        read_pretrained(Path("data/pretrain"))
