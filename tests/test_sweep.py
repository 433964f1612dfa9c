"""sweep: one pass for all depths, an experiment each, a table and a picture, and the workspace as it was."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages.base.params import read_yaml
from stages.draw.sweep import draw_sweep, format_results
from stages.pipeline.candidates import plan_candidates, plan_from_scratch, read_sections
from stages.tools import sweep
from tests.conftest import PROJECT, Refusal
from tests.helpers.copies import ran, run, set_params
from tests.helpers.quick import edited_project, experiments, state


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of stages that do next to nothing, with edits that are not committed."""
    monkeypatch.chdir(edited_project(tmp_path))
    monkeypatch.setenv("THAW_TEST_SWEEP", str(os.getpid()))
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["sweep", *arguments])
    sweep.main()


@pytest.mark.slow
def test_each_depth_is_an_experiment_and_the_workspace_stays(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run("dvc", "repro", cwd=here)
    before = state(here)
    call(monkeypatch, "--depths", "-2,none", "--from-scratch")
    said = capfd.readouterr().out
    assert state(here) == before
    passes = ["extract", "extract_test"]
    depths = ["finetune", "finetune", "evaluate"]  # -2 gives the same model as before the sweep
    assert ran(said) == [*passes, *depths, *passes, "finetune", "evaluate"]
    assert "right of 40" not in said, "what evaluate says of the test split"
    results = pd.read_csv("data/sweep/sweep.csv").set_index("name")
    assert list(results.index) == ["-2", "none", "from-scratch"], "the most frozen comes first"
    assert list(results["frozen"]) == [4, 0, 0]
    assert list(results["parameters"]) == [692_930] * 3
    assert list(results["trained"]) == [692_610, 692_930, 692_930]
    assert list(results["accuracy"]) == pytest.approx([0.9, 1, 0.8])
    assert list(results["gain"]) == pytest.approx([0.1, 0.2, math.nan], nan_ok=True)
    assert list(results["megabytes"]) == pytest.approx([1.5] * 3, abs=0.01)
    assert (results["seconds"] > 0).all()
    assert list(results["shared_seconds"] > 0) == [True, False, True]
    assert not [column for column in results if "test" in column]
    table = said[said.index("val log loss") :].splitlines()
    assert [line.split()[0] for line in table[1:4]] == ["none", "-2", "from-scratch"], "the lowest log loss comes first"
    assert re.search(r"100\.0 % +91\.2 to 100\.0 +\+20\.0 \(\+6\.3 to \+31\.8\) +692,930", table[1])
    assert "none: the best of 3 by log loss on 40 validation images" in said
    assert "not to be told from it by accuracy, by the paired interval: -2\n" in said
    assert said.endswith("The test split is the final exam, once you have chosen: --test shows it.\n")
    with Image.open("data/sweep/sweep.png") as image:
        assert image.width > 500
    saved = experiments(here)
    assert set(saved) == {"sweep--2", "sweep-none", "sweep-from-scratch"}
    for name, freeze, loss in (("sweep--2", -2, 0.04), ("sweep-none", "none", 0)):
        params = saved[name]["params"]["params.yaml"]["data"]
        assert (params["finetune"]["thawed"]["freeze"], params["finetune"]["seed"]) == (freeze, 7)
        assert (params["extract"]["freeze"], params["extract"]["depths"]) == (-2, ["none"])
        assert saved[name]["metrics"]["data/evaluate/metrics.json"]["data"]["val"]["log_loss"] == loss


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [("fails", 1, "it cannot be"), pytest.param("interrupted", 130, "interrupted", marks=pytest.mark.slow)],
)
def test_what_ends_early_leaves_the_workspace_as_it_was(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], end: str, code: int, said: str
) -> None:
    monkeypatch.setenv("THAW_TEST_END", end)
    before = state(here)  # nothing has run yet: there is no dvc.lock
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, "--depths", "none,all")
    assert stopped.value.code == code
    assert said in capfd.readouterr().err
    assert state(here) == before
    assert not Path("data/sweep").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert set(experiments(here)) == {"sweep-all"}


@pytest.fixture
def killed(here: Path) -> Path:
    """The project after a sweep was killed while the second depth trained."""
    run("dvc", "repro", cwd=here)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "THAW_TEST_END": "waits"}
    sweep = subprocess.Popen(
        (sys.executable, "-P", "-m", "stages", "sweep", "--depths", "all,none"),
        cwd=here,
        env=environment,
        start_new_session=True,
    )
    while not (here / "waiting").exists():
        assert sweep.poll() is None
        time.sleep(0.1)
    sweep.kill()
    sweep.wait()
    while (here / "waiting").exists():
        time.sleep(0.1)
    return here


@pytest.mark.slow
def test_after_a_kill_the_next_sweep_starts_from_what_was_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    run("dvc", "repro", cwd=here)
    before = state(here)
    request.getfixturevalue("killed")
    assert read_yaml(here / "params.yaml")["extract"]["depths"] == ["none"]
    call(monkeypatch)
    assert "restored the workspace of a run that was killed" in capsys.readouterr().out
    assert state(here) == before


@pytest.mark.slow
def test_a_dvc_lock_that_the_kill_emptied_comes_back(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (killed / "dvc.lock").write_text("")
    call(monkeypatch)
    assert ran(run("dvc", "repro", cwd=killed)) == []


@pytest.mark.slow
def test_what_was_edited_after_a_kill_is_not_overwritten(
    killed: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    set_params(killed, {"finetune": {"seed": 8}})
    edited = state(killed)
    said = refused(call, monkeypatch, "--depths", "all,none")
    assert "an earlier run was killed, and params.yaml or the commit changed since" in said
    assert state(killed) == edited
    run("sh", "-c", said.partition("that run: ")[2], cwd=killed)
    call(monkeypatch)
    assert read_yaml(killed / "params.yaml")["finetune"]["seed"] == 7


@pytest.mark.slow
def test_outputs_that_the_cache_does_not_hold_are_not_replaced(
    here: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    run("dvc", "repro", "--no-commit", cwd=here)
    before = state(here)
    said = refused(call, monkeypatch, "--depths", "all,none")
    outputs = ("evaluate/predictions.parquet", "extract/", "extract_test/", "finetune/", "pretrain/", "split/")
    assert said.startswith(f"sweep: {', '.join(f'data/{out}' for out in outputs)}: expec")
    assert "Run `dvc commit` to keep them" in said
    assert state(here) == before
    run("dvc", "commit", "-f", cwd=here)
    call(monkeypatch, "--depths", "all,none")
    assert state(here) == {**before, "git": state(here)["git"], here / "dvc.lock": (here / "dvc.lock").read_bytes()}


def test_the_table_ranks_by_log_loss_and_names_what_it_cannot_tell_apart(tmp_path: Path) -> None:
    def outcome(name: str, wrong: int, loss: float) -> sweep.Outcome:
        right = np.arange(80) >= wrong
        row = {"name": name, "frozen": 1, "layers": 9, "parameters": 5000, "trained": 10, "megabytes": 0.02}
        row |= {"seconds": math.nan, "log_loss": loss, "accuracy": right.mean(), "balanced_accuracy": 0.5}
        row |= {"accuracy_low": right.mean() - 0.1, "accuracy_high": right.mean()}
        row |= {f"test_{key}": row[key] for key in ("accuracy", "accuracy_low", "accuracy_high")}
        history = pd.DataFrame({"phase": "head", "epoch": [1], "loss": [2.0], "val_loss": [loss]})
        return sweep.Outcome(row, {"val": right, "test": right}, history)

    outcomes = [outcome("from-scratch", 30, 0.9), outcome("vgg16-all", 4, 0.2), outcome("vgg16-block5", 2, 0.3)]
    results = sweep.compare(outcomes, 0.9)
    lines = list(format_results(results, 80, 0.9))
    assert [line.split()[0] for line in lines[1:4]] == ["vgg16-all", "vgg16-block5", "from-scratch"]
    assert re.split(" {2,}", lines[0].strip()) == [
        *("frozen", "val log loss", "val accuracy", "90 % interval", "balanced", "over scratch", "parameters"),
        *("trained", "MB", "seconds", "test accuracy", "90 % interval", "over scratch"),
    ]
    assert lines[1].split()[-4:] == ["+32.5", "(+23.0", "to", "+40.4)"]
    assert lines[4].startswith("vgg16-all: the best of 3 by log loss on 80 validation images; being chosen, it looks")
    assert lines[5] == "not to be told from it by accuracy, by the paired interval: vgg16-block5"
    draw_sweep(results, {one.row["name"]: one.history for one in outcomes}, 0.9, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


def test_depths_may_begin_with_a_minus(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.parse(["--depths", "-2,all", "--test"]).depths == ["-2", "all"]
    assert sweep.parse(["--depths=-2,all"]).depths == ["-2", "all"]
    with pytest.raises(SystemExit):
        sweep.parse(["--depths", "all,,none"])
    assert "expected different items with commas between them; received 'all,,none'" in capsys.readouterr().err


def test_a_backbone_starts_from_the_catalog_or_a_file_and_is_frozen_alike(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(PROJECT / "recipes" / "default.yaml", path)
    set_params(tmp_path, {"pretrain": {"image_size": 32}, "finetune": {"head": {"initial": "new", "epochs": 7}}})
    sections = read_sections(path.read_text(), read_yaml(path))
    weights = tmp_path / "own.h5"
    with h5py.File(weights, "w"):
        pass
    backbones = {"mobilenet_025": None, "mobilenet_v2_035": str(weights)}
    groups = plan_candidates(sections, backbones, ["last_block", "all"], ["mobilenet_025_imagenet"])
    names = [[candidate.name for candidate in group] for group in groups]
    assert names == [[f"{name}-all", f"{name}-last_block"] for name in backbones]
    assert [[candidate.frozen for candidate in group] for group in groups] == [[86, 80], [154, 143]]
    first, second = (YAML(typ="safe").load(group[1].text) for group in groups)
    assert first["fetch"]["items"] == [*sections.fetch.items, "mobilenet_025_imagenet"]
    assert first["pretrain"]["source"] == "data/fetch/mobilenet_025_imagenet"
    assert (second["fetch"]["items"], second["pretrain"]["source"]) == (sections.fetch.items, str(weights))
    assert (second["extract"]["freeze"], second["extract"]["depths"]) == ("all", ["last_block"])
    assert second["finetune"]["thawed"]["freeze"] == "last_block"
    for backbone, expected in (("mnist_cnn", "mnist_cnn"), ("mobilenet_025", "three_conv_cnn")):
        changed = replace(sections, pretrain=sections.pretrain.model_copy(update={"backbone": backbone}))
        scratch = YAML(typ="safe").load(plan_from_scratch(changed).text)
        assert (scratch["pretrain"]["backbone"], scratch["pretrain"]["epochs"]) == (expected, 0)
        assert scratch["pretrain"]["source"] == sections.split.source
        thawed = scratch["finetune"]["thawed"]
        assert (scratch["extract"]["freeze"], thawed["epochs"], thawed["learning_rate"]) == ("none", 37, 0.001)


@pytest.mark.parametrize(
    ("arguments", "changes", "said"),
    [
        ("", {}, "expected two or more candidates, such as --depths all,last_block; received 1. `python -m stages la"),
        ("--depths all,dens", {}, "depth: expected 'all', 'none', a count, or a layer or block of the backbone (bloc"),
        (
            "--depths all,-7",
            {},
            "depth: expected a count from -6 to 6, because the backbone has 6 layers; received",
        ),
        ("--depths all,none,6", {}, "depth: all and 6 freeze the same 6 layers. Leave one of them out."),
        ("--depths last_block,-2", {}, "depth: last_block and -2 freeze the same 4 layers."),
        (
            "--depths all,none",
            {"finetune": {"thawed": {"epochs": 0}}},
            "finetune.thawed.epochs: expected 1 or more; with 0",
        ),
        (
            "--depths all,none",
            {"finetune": {"thawed": {"gradual": [{"epoch": 1, "freeze": -2}]}}},
            "finetune.thawed.gradual: expected at least the 6 layers frozen",
        ),
        ("--depths all,none", {"extract": {"views": 0}}, "extract.views: expected a count of 1 or more"),
        ("--depths all,none", {"split": {"val": 0}}, "split.val: expected validation images, because they decide"),
        ("--depths all,none", {}, "experiments are stored in git, and this is not a git repository. Make it one: gi"),
        (
            "--backbones mnist_cnn,vgg16=data/own/no.h5",
            {"finetune": {"head": {"initial": "new"}}},
            "vgg16: pretrain.source: expected a data set folder, a model or a weights file; there is no data/own/no.h5",
        ),
        (
            "--backbones mnist_cnn,three_conv_cnn",
            {"finetune": {"head": {"initial": "new"}}},
            "three_conv_cnn: there are no published weights of three_conv_cnn. Name a file: three_conv_cnn=data/",
        ),
        ("--backbones vgg16,vgg16=a.h5", {}, "--backbones: expected each name once; received vgg16,vgg16=a.h5."),
        ("--backbones mnist_cnn,vgg16", {}, "vgg16: finetune.head.initial: expected new, because these weights come w"),
        (
            "--backbones mnist_cnn,vgg17",
            {"finetune": {"head": {"initial": "new"}}},
            "vgg17: pretrain.backbone: there is no backbone 'vgg17'. Did you mean",
        ),
    ],
)
def test_what_cannot_be_compared_is_said_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refusal,
    arguments: str,
    changes: dict[str, object],
    said: str,
) -> None:
    shutil.copy(PROJECT / "recipes" / "default.yaml", tmp_path / "params.yaml")
    (tmp_path / sweep.CATALOG).parent.mkdir(parents=True)
    shutil.copy(PROJECT / sweep.CATALOG, tmp_path / sweep.CATALOG)
    set_params(tmp_path, changes)
    monkeypatch.chdir(tmp_path)
    assert refused(call, monkeypatch, *arguments.split()).startswith(("sweep: " + said, "sweep: params.yaml: " + said))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "stages"]


def test_before_the_first_commit_there_is_nothing_to_hang_experiments_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    shutil.copy(PROJECT / "recipes" / "default.yaml", tmp_path / "params.yaml")
    run("git", "init", "-q", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "experiments belong to a commit, and there is none. Make one: git add" in refused(
        call, monkeypatch, "--depths", "all,none"
    )


def finetune(folder: Path) -> list[Path]:
    """Return the files that finetune wrote."""
    return sorted((folder / "data" / "finetune").iterdir())


@pytest.mark.slow
def test_a_depth_of_the_sweep_is_what_it_is_alone(finished: Path, tmp_path: Path) -> None:
    here, alone = tmp_path / "project", tmp_path / "alone"
    shutil.copytree(finished, here, symlinks=True)
    shutil.copytree(finished, alone, symlinks=True)
    before = state(here)
    said = run("python", "-m", "stages", "sweep", "--depths", "all,-1", cwd=here)
    assert [stage for stage in ran(said) if stage != "evaluate"] == ["extract", "extract_test", *["finetune"] * 2]
    assert state(here) == before
    results = pd.read_csv(here / "data" / "sweep" / "sweep.csv").set_index("name")
    saved = experiments(here)
    assert set(saved) == {"sweep-all", "sweep--1"}
    assert " right" not in said, "what evaluate says of the test split"
    said = run("python", "-m", "stages", "sweep", "--depths", "-1,all", "--test", cwd=here)
    assert ran(said) == [], "what the cache holds was run again"
    tested = dict(re.findall(r"^(all|-1) .* cached +([0-9.]+ %)", said, re.M))
    assert set(experiments(here)) == set(saved), "the same names are the same experiments"
    assert state(here) == before
    assert results["seconds"].notna().all()
    for freeze in ("all", -1):
        set_params(alone, {"extract": {"freeze": freeze}})
        run("dvc", "repro", "evaluate", cwd=alone)
        run("dvc", "exp", "apply", f"sweep-{freeze}", cwd=here)
        metrics = json.loads((alone / "data" / "evaluate" / "metrics.json").read_text())
        for name in ("accuracy", "log_loss"):
            assert results.loc[str(freeze), name] == pytest.approx(metrics["val"][name], abs=1e-5)
        assert tested[str(freeze)] == f"{100 * metrics['test']['accuracy']:.1f} %"
        written, others = ({file.name: file.read_bytes() for file in finetune(folder)} for folder in (here, alone))
        assert written.keys() == others.keys()
        assert [name for name in written if written[name] != others[name]] == [], freeze
    assert ran(run("dvc", "repro", cwd=here)) == ["report", "export"], "only what the sweep leaves out is left to run"
    assert read_yaml(here / "params.yaml")["finetune"]["thawed"]["freeze"] == -1
