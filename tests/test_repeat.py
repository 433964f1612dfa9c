"""repeat: the test images stay, the rest varies; an experiment each, and an interval over images and runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.base.params import read_yaml
from stages.measure.intervals import bound_accuracy
from stages.measure.repeated import bound_over_runs
from stages.pipeline.candidates import read_sections
from stages.tools import repeat
from tests.conftest import PROJECT, Refusal
from tests.helpers.copies import ran, set_params
from tests.helpers.quick import edited_project, experiments, state


def simulate(generator: np.random.Generator, runs: int, images: int, spread: float) -> np.ndarray:
    """Return which images each run gets right: images differ in how hard they are, runs in how good they are."""
    skill, ease = spread * generator.standard_normal((runs, 1)), generator.standard_normal(images)
    return 1.2 + skill + ease + generator.standard_normal((runs, images)) > 0


@pytest.mark.parametrize(("runs", "spread"), [(5, 0.5), (3, 0.0)])
def test_the_interval_covers_the_accuracy_of_all_runs_and_images(runs: int, spread: float) -> None:
    """As often as it says; the interval over images alone misses it more often, the more the runs differ."""
    generator = np.random.default_rng(1)
    true = float(simulate(np.random.default_rng(2), 1000, 1000, spread).mean())
    inside, alone, count = 0, 0, 60
    for _ in range(count):
        right = simulate(generator, runs, 100, spread)
        low, high = bound_over_runs(right, 0.95)
        inside += low <= true <= high
        low, high = bound_accuracy(int(right[0].sum()), 100, 0.95)
        alone += low <= true <= high
    assert inside >= 0.92 * count
    assert (alone <= 0.75 * count) == (spread > 0)


def test_the_interval_does_not_collapse_where_nothing_varies() -> None:
    low, high = bound_over_runs(np.ones((5, 50)), 0.95)
    assert low < 0.95
    assert high == pytest.approx(1)
    low, high = bound_over_runs(np.zeros((5, 50)), 0.95, gain=True)
    assert low == pytest.approx(-high, abs=0.02)
    assert 0.01 < high < 0.1


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of stages that do next to nothing, with edits that are not committed."""
    monkeypatch.chdir(edited_project(tmp_path))
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["repeat", *arguments])
    repeat.main()


def test_each_run_is_an_experiment_and_the_test_images_are_passed_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = state(here)
    call(monkeypatch, "--seeds", "2")
    said = capfd.readouterr().out
    assert state(here) == before
    assert ran(said) == ["extract", "extract_test", "finetune", "evaluate", "extract", "finetune", "evaluate"]
    saved = experiments(here)
    assert set(saved) == {"repeat-1", "repeat-2"}
    params = {name: saved[name]["params"]["params.yaml"]["data"] for name in saved}
    seeds = [
        (one["split"]["seed"], one["split"]["train_seed"], one["extract"]["seed"], one["finetune"]["seed"])
        for one in (params["repeat-1"], params["repeat-2"])
    ]
    assert seeds == [(1, "same", 1, 7), (1, 2, 2, 8)]
    runs = pd.read_csv("data/repeat/runs.csv")
    assert list(runs["val_accuracy"]) == [0.9, 0.875]
    assert list(runs["test_finetuned"]) == [0.875, 0.85]
    assert (runs["seconds"] > 0).all()
    (row,) = pd.read_csv("data/repeat/intervals.csv").to_dict("records")
    assert [row[name] for name in ("model", "lowest", "median", "highest")] == ["head only", 0.85, 0.8625, 0.875]
    assert row["low"] < row["alone_low"] < 0.8625 < row["alone_high"] < row["high"]
    assert "The 20 training images are drawn from the 90 that the test split leaves" in said


def test_the_gain_is_measured_over_images_and_runs() -> None:
    classes = ["a"] * 60
    tables = [
        pd.DataFrame(
            {
                "class": classes,
                "head_predicted": ["b"] * wrong + classes[wrong:],
                "finetuned_predicted": ["b"] * (wrong - 6) + classes[wrong - 6 :],
            }
        )
        for wrong in (10, 12, 14)
    ]
    rows = repeat.measure_runs(tables, 0.95).set_index("model")
    assert list(rows.index) == ["head only", "fine-tuned", "gain"]
    assert rows.loc["gain", ["lowest", "mean", "highest"]].tolist() == pytest.approx([0.1] * 3)
    assert 0 < rows.loc["gain", "low"] < 0.1 < rows.loc["gain", "high"]
    lines = repeat.format_intervals(rows.reset_index(), 0.95)
    assert lines[0].split()[-2:] == ["images", "alone"]
    assert lines[3].split()[:5] == ["gain", "+10.0", "+10.0", "+10.0", "+10.0"]


@pytest.mark.parametrize(
    ("changes", "vary", "expected"),
    [
        ({}, repeat.CHOICES, {"split": {"train_seed": 3}, "extract": {"seed": 3}, "finetune": {"seed": 3}}),
        ({"split": {"train_seed": 9}}, ("images",), {"split": {"train_seed": 11}}),
        ({"finetune": {"seed": 2**32 - 1}}, ("weights",), {"finetune": {"seed": 1}}),
        ({"pretrain": {"epochs": 0}}, ("weights",), {"finetune": {"seed": 3}, "pretrain": {"seed": 3}}),
        (
            {"pretrain": {"epochs": 0, "backbone": "vgg16", "source": "data/fetch/vgg16_imagenet"}},
            ("weights",),
            {"finetune": {"seed": 3}},
        ),
    ],
)
def test_the_seeds_of_the_third_run(
    tmp_path: Path, changes: dict[str, object], vary: tuple[str, ...], expected: dict[str, object]
) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes((PROJECT / "recipes" / "default.yaml").read_bytes())
    set_params(tmp_path, changes)
    sections = read_sections(path.read_text(), read_yaml(path))
    assert repeat.choose_seeds(sections, vary, 2) == expected
    assert repeat.choose_seeds(sections, vary, 0) == {}


def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--seeds: expected 2 or more, because the variation is between runs; received 1" in refused(
        call, monkeypatch, "--seeds", "1"
    )
    with pytest.raises(SystemExit):
        call(monkeypatch, "--vary", "images,seed")
    assert "expected some of images,views,weights; received 'images,seed'" in capsys.readouterr().err
