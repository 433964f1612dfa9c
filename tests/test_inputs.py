"""Every input of the pipeline, changed one at a time: DVC runs the stages that use it, and no others.

What a stage uses is watched in its process: modules and libraries that it imports, files that it opens. What it may use
(the framework, where there is a GPU) is read from the code. Between the two lies what must run again.
"""

import ast
import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from dvc.stage import PipelineStage
from ruamel.yaml import YAML

from stages.base.params import read_yaml
from stages.pipeline.dependencies import find_closure
from stages.pipeline.libraries import find_libraries
from tests.conftest import PROJECT
from tests.helpers.copies import run

Watched = dict[str, dict[str, set[str]]]  # of each stage: "modules" and "opened" files, and what it "imported"

STAGES = ("fetch", "split", "pretrain", "extract", "extract_test", "finetune", "evaluate", "report", "export")
FRAMEWORK = {"extract", "pretrain", "finetune", "extract_test", "evaluate"}  # that import it, or may on a GPU
# The stages that read what several share; every other section belongs to the stage of its name.
SHARED = {
    "compute.backend": FRAMEWORK,
    "compute.devices": {"pretrain", "finetune"},
    "compute.frozen": {"extract"},
    "compute.precision": {"extract", "finetune"},
    "evaluate": {"evaluate", "report"},
    "evaluate.confidence": {"evaluate", "report", "export"},
    "split.about": {"split", "report", "export"},
    "split.source": {"split", "report", "export"},
    "pretrain": {"pretrain", "report", "export"},  # the report and the model card say how the models were trained
    "finetune": {"finetune", "report", "export"},
    "fetch": set[str](),  # what is fetched are stages, not inputs of them
}
# A Python that finds this module runs it first: it notes what is opened below the project, and at the end what is
# imported.
WATCH = """
import atexit, json, os, sys
from pathlib import Path

opened, here = set(), os.getcwd() + os.sep

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(here):
            opened.add(path.removeprefix(here))

def write():
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    own = [file.removeprefix(here) for file in files if file.startswith(here)]
    said = {"opened": sorted(opened), "modules": own, "imported": sorted({name.split(".")[0] for name in sys.modules})}
    Path(os.environ["THAW_TEST_WATCHED"]).write_text(json.dumps(said))

sys.addaudithook(note)
atexit.register(write)
"""


@pytest.fixture(scope="module")
def here(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(finished, tmp_path_factory.mktemp("inputs") / "project", symlinks=True)


@pytest.fixture(scope="module")
def watched(here: Path, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """What each stage imports and opens."""
    folder, found = tmp_path_factory.mktemp("watch"), {}
    (folder / "sitecustomize.py").write_text(WATCH)
    for name in STAGES:
        said = folder / f"{name}.json"
        arguments = ["digits"] if name == "fetch" else []
        own = {"PYTHONPATH": str(folder), "THAW_TEST_WATCHED": str(said)}
        run("python", "-m", f"stages.{name}", *arguments, cwd=here, **own)
        found[name] = {what: set(values) for what, values in json.loads(said.read_text()).items()}
    run("dvc", "checkout", "-f", cwd=here)
    return found


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let DVC parse a YAML file once for each content: it takes most of the time of asking it."""
    parse = cache(lambda text, typ: YAML(typ=typ).load(text) or {})
    for module in ("utils.serialize._yaml", "utils.strictyaml"):
        monkeypatch.setattr(f"dvc.{module}.parse_yaml", lambda text, path, typ="safe": deepcopy(parse(text, typ)))


def to_run(here: Path) -> set[str]:
    """Return the stages that DVC would run because what they declare has changed."""
    with Repo(str(here)) as repo:
        status = repo.status()
    found = set()
    for name, changes in status.items():
        if any("changed deps" in change for change in changes if isinstance(change, dict)):
            found.add(name.split(":")[-1].split("@")[0])
    return found


def leaves(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Go through the keys of params.yaml with their values."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def imports(file: str) -> tuple[set[str], set[str]]:
    """Return the modules that a file of the project imports: all, and those that it imports inside functions."""
    tree = ast.parse((PROJECT / file).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    found = []
    for nodes in (ast.walk(tree), chain.from_iterable(map(ast.walk, functions))):
        modules = set()
        for node in nodes:
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        found.append(modules)
    return found[0], found[1]


def may_import(modules: set[str]) -> set[str]:
    """Return the modules of the project that come with ``modules`` where a function imports what it need not here."""
    later = {name.replace(".", "/") + ".py" for module in modules for name in imports(module)[1]}
    return {file for module in later if (PROJECT / module).is_file() for file in find_closure(PROJECT, module)}


@pytest.mark.slow
def test_a_param_runs_the_stages_that_read_it(here: Path) -> None:
    file, params = here / "params.yaml", read_yaml(here / "params.yaml")
    text, wrong = file.read_text(), dict[str, object]()
    assert to_run(here) == set()
    for key, value in leaves(params):
        yaml, content = YAML(), YAML().load(text)
        *above, last = key.split(".")
        section = content
        for name in above:
            section = section[name]
        # Names that dvc.yaml makes paths of must exist; elsewhere DVC compares values, whatever they mean.
        other = {"source": "data/fetch/digits" if value != "data/fetch/digits" else "data/own/digits"}
        section[last] = {**other, "backend": "jax", "items": ["digits"]}.get(last, "another value")
        yaml.dump(content, file)
        owner = above[0]
        expected = SHARED.get(key, SHARED.get(owner, {owner}))
        if (found := to_run(here)) != expected:
            wrong[key] = (found, expected)
    file.write_text(text)
    assert not wrong, "\n".join(f"{key}: {value}" for key, value in wrong.items())


@pytest.mark.slow
def test_code_libraries_and_data_run_the_stages_that_use_them(here: Path, watched: Watched) -> None:
    """In one test, for what stages use is watched once for all."""
    check_modules(here, watched)
    check_libraries(here, watched)
    check_data(here, watched)


def check_modules(here: Path, watched: Watched) -> None:
    """The stages list each module that they import, and others only if they may import it; a change to it runs them."""
    loaded = {name: {file for file in watched[name]["modules"] if file.endswith(".py")} for name in STAGES}
    possible, wrong = {name: loaded[name] | may_import(loaded[name]) for name in STAGES}, dict[str, object]()
    listed: dict[str, set[str]] = {}
    with Repo(str(here)) as repo:
        for stage in repo.index.stages:
            if isinstance(stage, PipelineStage):  # not a .dvc file
                listed.setdefault(stage.name.split("@")[0], set()).update(each.def_path for each in stage.deps)
    modules = sorted((here / "stages").rglob("*.py"))
    assert len(modules) > 100
    for file in modules:
        path = str(file.relative_to(here))
        found = {name for name in STAGES if path in listed[name]}
        used = {name for name in STAGES if path in loaded[name]}
        allowed = {name for name in STAGES if path in possible[name]}
        if path.endswith("on_jax.py"):
            allowed = set()  # TensorFlow computes
        if path.endswith("on_tensorflow.py"):
            allowed |= {"export"}  # its formats come from TensorFlow
        if not used <= found <= allowed:
            wrong[path] = (found, used, allowed)
        if path.endswith(("images/contract.py", "draw/page.py")):  # all others cost DVC minutes
            before = file.read_text()
            file.write_text(f"{before}\n# a comment\n")
            assert to_run(here) == found
            file.write_text(before)
    assert not wrong, "\n".join(f"{key}: {value}" for key, value in wrong.items())


def check_libraries(here: Path, watched: Watched) -> None:
    """Change each version: the stages run whose code imports the library."""
    used_by = {}
    for name in STAGES:
        named = {each.split(".")[0] for file in watched[name]["modules"] for each in imports(file)[0]}
        used_by[name] = find_libraries(named & watched[name]["imported"])
    file = here / "stages" / "versions.yaml"
    text, wrong = file.read_text(), dict[str, object]()
    for library, recorded in read_yaml(file).items():
        file.write_text(text.replace(f'{library}: "{recorded}"\n', f'{library}: "0.0.1"\n'))
        found = to_run(here)
        used = {name for name in STAGES if library in used_by[name]}
        if not used <= found:
            wrong[library] = used - found
        if library.startswith("jax"):
            assert found == set()
    file.write_text(text)
    assert not wrong, "\n".join(f"{key}: {value}" for key, value in wrong.items())


def check_data(here: Path, watched: Watched) -> None:
    """Change each file of data: the stages that open it run."""
    files = [file for file in sorted((here / "data").rglob("*")) if file.is_file() and file.suffix != ".dvc"]
    files = [file for file in files if file.name != ".gitignore" and "own" not in file.parts]
    wrong = dict[str, object]()
    for file in files:
        path = str(file.relative_to(here))
        if "fetch" in file.parts and not path.endswith("0.png"):
            continue  # some of many alike
        before = file.read_bytes()
        file.chmod(0o644)
        file.unlink()
        file.write_bytes(before + b"\n")
        found = to_run(here)
        file.write_bytes(before)
        writer = path.split("/")[1]
        used = {name for name in STAGES if path in watched[name]["opened"]} - {writer}
        if not used <= found:
            wrong[path] = (found, used)
    assert not wrong, "\n".join(f"{key}: {value}" for key, value in wrong.items())
