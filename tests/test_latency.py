"""Latency: every file of an exported model is timed, in turns, each in a process of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from stages.formats.card import Card, write_card
from stages.images.contract import Contract
from stages.tools import latency


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two classes as two ONNX files, and what export says of their accuracy."""
    folder = tmp_path_factory.mktemp("model")
    write_card(folder, Card(["a", "b"], Contract(4, 1, "photo", "light_on_dark", "pad"), ["onnx", "onnx_int8"]))
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    pixels = helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, ["n", 4, 4, 1])
    output = helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["n", 2])
    weights = numpy_helper.from_array(np.zeros((16, 2), np.float32), "weights")
    graph = helper.make_graph(nodes, "tiny", [pixels], [output], [weights])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    shutil.copy(folder / "model.onnx", folder / "model.int8.onnx")
    measured = {"reference": "onnx", "accuracy": 0.9, "formats": {"onnx_int8": {"accuracy": 0.875}}}
    (folder / "parity.json").write_text(json.dumps({"quantized": measured}))
    return folder


def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["latency", str(folder), "--runs", "12"])
    monkeypatch.setattr(latency, "count_cores", lambda: 2)
    try:
        latency.main()
    except SystemExit as ended:
        return int(str(ended.code))
    return 0


def test_a_row_for_each_file(model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(model, monkeypatch) == 0
    said = capfd.readouterr()
    assert said.err == ""
    processor, about, _, head, *rows = said.out.splitlines()
    assert processor.startswith("2 cores of ")
    assert about == "one image of 4 x 4 x 1; median and quartiles of 12 runs, in milliseconds"
    assert head.split() == ["file", "size", "1", "thread", "2", "threads", "memory", "accuracy"]
    assert [row.split()[0] for row in rows] == ["model.onnx", "model.int8.onnx"]
    assert [row.split()[-1] for row in rows] == ["90.0%", "87.5%"]
    assert all(row.count("(") == 2 and "bytes" in row for row in rows)


def test_a_file_that_cannot_run_ends_with_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(model, tmp_path / "broken")
    (folder / "model.onnx").write_bytes(b"no model")
    assert run(folder, monkeypatch) == 2
    assert capfd.readouterr().err.startswith(f"latency: {folder}/model.onnx: expected a model of the format onnx")
    assert run(tmp_path / "missing", monkeypatch) == 2
    assert "holds no exported model" in capfd.readouterr().err


def test_without_measured_accuracy_the_column_is_left_out(tmp_path: Path) -> None:
    assert latency.read_accuracies(tmp_path) == {}
    (tmp_path / "parity.json").write_text('{"formats": {}}')
    assert latency.read_accuracies(tmp_path) == {}
