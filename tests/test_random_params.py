"""Random params files: each is refused in one line for each mistake, or everything runs."""

import copy
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import evaluate, export, extract, extract_test, finetune, pretrain, report, split
from stages.tools import check
from stages.tools.check import SECTIONS
from tests.conftest import PROJECT
from tests.helpers.small import small_project

STAGES = (split, pretrain, extract, extract_test, finetune, evaluate, report, export)
# Values that people write, and values that nobody should.
VALUES: list[Any] = [0, 1, 2, 3, -1, -2, 1e-5, 0.2, 0.5, 1.0, 1.5, -0.1, 1e30, 2**40, True, False, None, [], {}]
VALUES += [
    "all",
    "none",
    "rest",
    "auto",
    "new",
    "source",
    "average",
    "max",
    "fresh",
    "conv",
    "dense",
    "dens",
    "float16",
]
VALUES += ["train", "frozen", "best", "last", "balanced", "cosine", "sgd", "pad", "ink", "photo", "nearest", "reflect"]
VALUES += [[1], [2, 1], ["across", "upright"], ["upright"], ["all", -1], [{"epoch": 1, "freeze": -1}]]
VALUES += ["", "data/own/bars", "é\n", "x" * 300]


def keys(section: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of all values."""
    found = []
    for key, value in section.items():
        found += keys(value, (*above, key)) if isinstance(value, dict) and value else [(*above, key)]
    return found


def likely(path: tuple[str, ...], draw: random.Random) -> Any:
    """Draw a value that the schema allows for a key, as far as it says so; any value otherwise."""
    section, *below = path
    schema = SECTIONS[section].model_json_schema()
    part = schema
    for key in below:
        part = part["properties"][key]
        part = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    low, high = (part.get(name, part.get(f"exclusive{name.title()}")) for name in ("minimum", "maximum"))
    low = 0 if low is None else low
    if "enum" in part:
        return draw.choice(part["enum"])
    if part.get("type") == "integer":
        return draw.randint(low, min(low + 20, low + 20 if high is None else high))
    if part.get("type") == "number":
        return draw.uniform(low, low + 1 if high is None else high)
    return draw.choice(VALUES)


def change(params: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Return params with one to three values changed, and now and then a key too few or too many."""
    changed = copy.deepcopy(params)
    for path in draw.sample(keys(params), draw.randint(1, 4)):
        *above, last = path
        place = changed
        for key in above:
            place = place[key]
        kind = draw.random()
        if kind < 0.04:
            del place[last]
        elif kind < 0.08:
            place[last + "s"] = place.pop(last)
        else:
            place[last] = copy.deepcopy(draw.choice(VALUES) if kind < 0.3 else likely(path, draw))
    return changed


def run(folder: Path, seed: int, capfd: pytest.CaptureFixture[str]) -> str:
    """Run all stages with the params that ``seed`` draws, or none; return what was said where they were refused."""
    yaml = YAML()
    params = YAML(typ="safe").load(folder / "params.yaml")
    yaml.dump(change(params, random.Random(seed)), folder / "params.yaml")
    capfd.readouterr()
    code = None
    try:
        check.main()
        for stage in STAGES:
            stage.main()
    except SystemExit as ended:
        code = ended.code
    said = capfd.readouterr().err
    assert (code is None) == (not said), f"{code}: {said}"
    return said


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = small_project(tmp_path_factory.mktemp("small") / "project", monkeypatch)
        for name in ("dvc.yaml", "pyproject.toml"):
            shutil.copy(PROJECT / name, folder)
        shutil.copytree(PROJECT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_any_params_are_refused_or_run(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], seed: int
) -> None:
    folder = shutil.copytree(small, tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["check"])
    said = run(folder, seed, capfd)
    assert len(said) < 3000, said
    assert "\x1b" not in said
