"""A pipeline whose stages have the shape of the project's and compute next to nothing."""

import shutil
import sys
from pathlib import Path

from tests.conftest import PROJECT
from tests.helpers.copies import commit, init_git, run

# Each stage writes a hash of what it reads: its section of params.yaml and the results of other stages.
_STAGES = """
import hashlib, json, os, sys, time
from pathlib import Path
from ruamel.yaml import YAML

stage, *reads = sys.argv[1:]
params = YAML(typ="safe").load(Path("params.yaml"))[stage]
inputs = [Path("data", other, "result.txt").read_text() for other in reads]
result = hashlib.sha256(json.dumps([params, inputs]).encode()).hexdigest()
resume = Path("data", f".resume-{stage}")
if stage == "finetune" and (until := os.environ.get("QUICK_EPOCHS")):  # trains, with checkpoints, and does not end
    state = resume / "head.npz"
    epoch = int(state.read_text()) if state.exists() else 0
    if epoch:
        print(f"resuming at epoch {epoch + 1}", flush=True)
    resume.mkdir(exist_ok=True)
    (resume / "run.json").write_text(json.dumps(params))
    while epoch < int(until):
        epoch += 1
        state.with_suffix(".new").write_text(str(epoch))
        state.with_suffix(".new").replace(state)
        time.sleep(0.1)
    if not os.environ.get("QUICK_END"):
        time.sleep(600)
for file in resume.glob("*"):
    file.unlink()
folder = Path("data", stage)
folder.mkdir(parents=True, exist_ok=True)
(folder / "result.txt").write_text(result)
if stage == "evaluate":
    (folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": int(result[:4], 16) / 65536}}))
"""
_PIPELINE = """
stages:
  extract:
    cmd: {python} quick.py extract
    deps: [quick.py]
    params: [extract]
    outs: [data/extract]
  finetune:
    cmd: {python} quick.py finetune extract
    deps: [quick.py, data/extract]
    params: [finetune]
    outs: [data/finetune]
  evaluate:
    cmd: {python} quick.py evaluate finetune
    deps: [quick.py, data/finetune]
    params: [evaluate]
    outs: [data/evaluate/result.txt]
    metrics: [data/evaluate/metrics.json: {{cache: false}}]
"""


def quick_pipeline(folder: Path, storage: Path) -> Path:
    """Make a project in ``folder`` with the default recipe, run it, commit it and push it to the remote ``storage``."""
    folder.mkdir(parents=True)
    (folder / "quick.py").write_text(_STAGES)
    (folder / "dvc.yaml").write_text(_PIPELINE.format(python=sys.executable))
    shutil.copy(PROJECT / "recipes" / "default.yaml", folder / "params.yaml")
    for name in (".gitattributes", "data/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    init_git(folder)
    run("dvc", "init", "-q", cwd=folder)
    run("dvc", "remote", "add", "-q", "-d", "storage", str(storage), cwd=folder)
    run("dvc", "repro", "-q", cwd=folder)
    run("dvc", "push", "-q", "--run-cache", cwd=folder)
    commit(folder, "Run the pipeline")
    return folder
