"""A project whose stages do next to nothing, with a git and a DVC repository: what runs is what matters."""

import shutil
import sys
from pathlib import Path

from tests.conftest import PROJECT
from tests.helpers.copies import commit, name_author, run

# Stages that take no time: what they write depends on the depth and the seed alone.
STAGES = """
import json, os, signal, sys, time
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
extract, freeze = params["extract"], params["finetune"]["thawed"]["freeze"]
depth = extract["freeze"] if freeze == "extract" else freeze
frozen = {"all": 6, -2: 4, "none": 0}
stage = sys.argv[1]
if freeze == "none" and stage == "finetune" and (end := os.environ.get("THAW_TEST_END")):
    if end == "fails":
        raise SystemExit("finetune: it cannot be.")
    Path("waiting").write_text(str(os.getpid()))
    try:
        if end == "interrupted":
            os.kill(int(os.environ["THAW_TEST_SWEEP"]), signal.SIGINT)
        time.sleep(60)
    finally:
        Path("waiting").unlink()
folder = Path("data", stage)
folder.mkdir(parents=True, exist_ok=True)
if stage == "extract":
    values = [extract["freeze"], *extract["depths"]]
    depths = [{"frozen": frozen[value], "layer": None} for value in values]
    content = {"depths": depths, "layers": 6, "pooling": "average", "classes": [], "contract": {}, "fresh": False}
    (folder / "boundary.json").write_text(json.dumps(content))
elif stage == "extract_test":
    (folder / "features.npy").write_text("")
elif stage == "finetune":
    (folder / "of.txt").write_text(f"{depth}, seed {params['finetune']['seed']}")
    rows = [f"layer,Dense,{state},{100}" for state in ["frozen"] * frozen[depth] + ["thawed"] * (6 - frozen[depth])]
    (folder / "layers.csv").write_text("\\n".join(["name,type,state,parameters", *rows]))
else:
    right = 0.9 - frozen[depth] / 100
    rates = {"accuracy": right, "accuracy_low": right - 0.1, "accuracy_high": right + 0.05}
    (folder / "scores.json").write_text(json.dumps({"head": rates, "finetuned": rates, "gain": rates}))
    (folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": right}}))
    print(f"  {right:.0%} right\\n  test split: 5 of its 8 images were in that of the last commit")
"""
PIPELINE = """
stages:
  extract:
    cmd: {python} stages.py extract
    params: [extract]
    outs: [data/extract]
  extract_test:
    cmd: {python} stages.py extract_test
    deps: [data/extract/boundary.json]
    outs: [data/extract_test]
  finetune:
    cmd: {python} stages.py finetune
    deps: [data/extract]
    params: [finetune]
    outs: [data/finetune]
  evaluate:
    cmd: {python} stages.py evaluate
    deps: [data/extract_test, data/finetune]
    params: [evaluate]
    outs: [data/evaluate/scores.json]
    metrics: [data/evaluate/metrics.json: {{cache: false}}]
"""


def quick_project(folder: Path) -> Path:
    """Make the project in ``folder``, with the default recipe's params.yaml, and commit it."""
    (folder / "stages.py").write_text(STAGES)
    (folder / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
    (folder / ".gitignore").write_text("/data\n")
    shutil.copy(PROJECT / "recipes" / "default.yaml", folder / "params.yaml")
    run("git", "init", "-q", "-b", "main", cwd=folder)
    run("dvc", "init", "-q", cwd=folder)
    name_author(folder)
    commit(folder, "start")
    return folder
