"""Damaged files: whatever a stage or a command is handed, it says in one line which file is wrong."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from stages import evaluate, export, extract, extract_test, finetune, pretrain, report, split
from stages.tools import layers, predict
from tests.helpers.copies import set_params
from tests.helpers.small import prepared_project

# What each stage reads of the others. (fetch and split read what users bring: tests of their own.)
READS: dict[ModuleType, str] = {
    extract: "split/train.parquet split/val.parquet pretrain/network.json pretrain/backbone.onnx",
    extract_test: "split/test.parquet extract/boundary.json pretrain/network.json pretrain/backbone.onnx "
    "pretrain/learned.npz",
    finetune: "split/val.parquet extract/boundary.json extract/train_labels.npy extract/val_labels.npy "
    "extract/train_features.npy extract/val_features.npy extract/train_flatten.npy extract/val_flatten.npy "
    "pretrain/network.json pretrain/backbone.weights.h5 extract/train_images.npy",
    evaluate: "split/test.parquet split/summary.json pretrain/network.json extract_test/features.npy "
    "extract_test/flatten.npy finetune/model.json finetune/head.onnx finetune/finetuned.onnx finetune/val.parquet "
    "pretrain/backbone.onnx",
    report: "split/train.parquet split/val.parquet split/summary.json split/classes.csv split/rejects.csv "
    "finetune/history.csv finetune/layers.csv evaluate/scores.json evaluate/per_class.csv evaluate/confusion.csv "
    "evaluate/reliability.csv evaluate/examples.parquet extract/seen.npz",
    export: "finetune/model.json finetune/finetuned.onnx pretrain/backbone.onnx split/test.parquet "
    "evaluate/predictions.parquet",
    layers: "split/summary.json",
    predict: "export/model.json export/model.onnx",
}


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(value) for name, value in arrays.items()})
    return file.getvalue()


def npy(values: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values), allow_pickle=True)
    return file.getvalue()


DAMAGES: dict[str, Callable[[bytes], bytes | None] | None] = {
    "gone": lambda content: None,
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "its end cut": lambda content: content[:-1],
    "its middle": lambda content: content[: len(content) // 3] + b"\xff" * 64 + content[len(content) // 3 + 64 :],
    "no UTF-8": lambda content: b"\xff\xfe\xe9" + content,
    "nested": lambda content: b"[" * 100_000,
    "another": lambda content: b'{"classes": 7, "depths": [{"frozen": "x"}], "contract": {"size": "large"}}',
    "a list": lambda content: b"[1, 2]",
    "a long number": lambda content: b'{"images": ' + b"9" * 5000 + b"}",
    "a web page": lambda content: b"<!DOCTYPE html><html>Not found</html>",
    "a scalar": lambda content: npy(1.5),
    "a pickle": lambda content: npy([{"a": 1}]),
    "few rows": lambda content: npy(np.zeros((1, 2), np.float32)),
    "other arrays": lambda content: npz(other=[1, 2]),
    "a folder": None,
}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project in which all stages have run."""
    stages = (split, pretrain, extract, extract_test, finetune, evaluate, report, export)
    return prepared_project(tmp_path_factory.mktemp("complete") / "project", *stages)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        pytest.param(stage, name, marks=[pytest.mark.exhaustive] if place % 4 else [])
        for stage, names in READS.items()
        for place, name in enumerate(names.split())
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    complete: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    stage: ModuleType,
    name: str,
) -> None:
    here = shutil.copytree(complete, tmp_path / "project")
    monkeypatch.chdir(here)
    if stage is layers:
        set_params(here, {"split": {"train": "rest", "val": 0.2}})
    if name == "extract/train_images.npy":  # only this solver reads it
        set_params(here, {"finetune": {"head": {"solver": "logistic"}, "thawed": {"epochs": 0}}})
    images = sorted(Path("data/own/bars/across").iterdir())[:1] if stage is predict else []
    monkeypatch.setattr("sys.argv", [stage.__name__, *map(str, images)])
    own, path = stage.__name__.rpartition(".")[2], Path("data", name)
    content = path.read_bytes()
    for damage, make in DAMAGES.items():
        path.unlink(missing_ok=True)
        if make is None:
            path.mkdir()
        elif (damaged := make(content)) is not None:
            path.write_bytes(damaged)
        results = {file: file.read_bytes() for file in Path("data", own).rglob("*") if file.is_file()}
        capfd.readouterr()
        try:
            stage.main()
        except SystemExit as ended:
            said = capfd.readouterr().err
            if ended.code:  # what does no harm may be read all the same
                assert said.startswith(f"{own}: "), damage
                named = str(path) in said or str(path.parent) in said
                assert named or "finite logits, received NaN" in said or "loss, received nan" in said, (
                    f"{damage}: {said}"
                )
                assert len(said) < 600, f"{damage}: {said}"
                assert {file: file.read_bytes() for file in results} == results, damage
