"""A project whose stages do next to nothing, with a git and a DVC repository: what runs is what matters."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.conftest import PROJECT
from tests.helpers.copies import commit, init_git, run, set_params

# Stages that take no time: what they write depends on depth, network and seed alone.
STAGES = """
import json, os, signal, sys, time
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
extract, freeze, seed = params["extract"], params["finetune"]["thawed"]["freeze"], params["finetune"]["seed"]
depth = extract["freeze"] if freeze == "extract" else freeze
frozen = {"all": 6, -2: 4, "last_block": 4, "none": 0}
stage = sys.argv[1]

def predict(wrong, images):
    # The first ones of class a are misclassified.
    classes = ["a"] * (images // 2) + ["b"] * (images - images // 2)
    predicted = ["b"] * wrong + classes[wrong:]
    table = {"sha256": [str(place) for place in range(images)], "class": classes}
    for model in ("head", "finetuned"):
        table |= {f"{model}_predicted": predicted, f"{model}_loss": [wrong / 100] * images}
    return pa.table(table)

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
wrong = frozen[depth] + (seed - 1) % 6 + 8 * (params["pretrain"]["epochs"] == 0)
if stage == "extract":  # and what comes before it
    for name in ("split", "pretrain"):
        Path("data", name).mkdir(exist_ok=True)
    images = {"train": 20, "val": 40, "test": 40}
    Path("data/split/summary.json").write_text(json.dumps({"images": images, "unused": 30}))
    Path("data/pretrain/backbone.onnx").write_text("0" * 1_500_000)
    depths = [{"frozen": frozen[value], "layer": None} for value in [extract["freeze"], *extract["depths"]]]
    content = {"depths": depths, "layers": 6, "pooling": "average", "classes": ["a", "b"], "contract": {}}
    (folder / "boundary.json").write_text(json.dumps(content | {"fresh": False}))
elif stage == "extract_test":
    (folder / "features.npy").write_text("")
elif stage == "finetune":
    columns = "phase,epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,kept"
    epochs = "head,1,0.9,0.5,0.8,0.6,0.001,1", "thawed,2,0.5,0.7,0.6,0.8,0.001,1"
    (folder / "history.csv").write_text("\\n".join([columns, *epochs]))
    (folder / "head.onnx").write_text(f"{depth}, seed {seed}")
    pq.write_table(predict(wrong, 40), folder / "val.parquet")
else:
    predictions = predict(wrong + 1, 40)
    pq.write_table(predictions, folder / "predictions.parquet")
    (folder / "metrics.json").write_text(json.dumps({"val": {"log_loss": wrong / 100}}))
    print(f"  {39 - wrong} right of 40\\n  test split: 5 of its 8 images were in that of the last commit")
"""
PIPELINE = """
stages:
  extract:
    cmd: {python} stages.py extract
    params: [split, pretrain, extract]
    outs: [data/extract, data/pretrain, data/split]
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
    outs: [data/evaluate/predictions.parquet]
    metrics: [data/evaluate/metrics.json: {{cache: false}}]
"""
OWN_FILES = {".git", ".dvc", "sweep", "repeat"}  # that git and the commands write


def quick_project(folder: Path) -> Path:
    """Make the project in ``folder``, with the default recipe's params.yaml, and commit it."""
    (folder / "stages.py").write_text(STAGES)
    (folder / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
    (folder / ".gitignore").write_text("/data\n")
    shutil.copy(PROJECT / "recipes" / "default.yaml", folder / "params.yaml")
    init_git(folder)
    run("dvc", "init", "-q", cwd=folder)
    commit(folder, "start")
    return folder


def edited_project(folder: Path) -> Path:
    """Make the project in ``folder``, with edits that are not committed."""
    quick_project(folder)
    set_params(folder, {"finetune": {"seed": 7}})
    (folder / "notes.txt").write_text("not known to git")
    (folder / "new.py").write_text("# staged\n")
    run("git", "add", "new.py", cwd=folder)
    return folder


def state(folder: Path) -> dict[str, Any]:
    """Return what a user would miss: git's view, and every file but those that the commands write."""
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    kept = {path: content for path, content in files.items() if not OWN_FILES & set(path.relative_to(folder).parts)}
    locks = [path for path in kept if path.name.startswith(".partial-")]
    git = [run("git", *command.split(), cwd=folder) for command in ("status --porcelain", "diff --cached", "branch")]
    return {"git": git, **{path: content for path, content in kept.items() if path not in locks}}


def experiments(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what `dvc exp show` has of each experiment, by its name."""
    shown = json.loads(run("dvc", "exp", "show", "--json", cwd=folder))
    found = [one["revs"][0] for commit in shown for one in commit.get("experiments") or []]
    return {one["name"]: one["data"] for one in found}
