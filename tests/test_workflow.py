""".github/workflows/check.yml: the steps that need no data, run in a clone without data, as GitHub runs them."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import PROJECT
from tests.helpers.copies import clone, run, set_params

WORKFLOW = YAML(typ="safe").load(PROJECT / ".github" / "workflows" / "check.yml")
STEPS = {step["name"]: step["run"] for step in WORKFLOW["jobs"]["check"]["steps"] if "run" in step}
VALID, LOCKED = "Are params.yaml and dvc.yaml valid?", "Does dvc.lock match params.yaml and the code?"


@pytest.fixture
def there(finished: Path, tmp_path: Path) -> Path:
    return clone(finished, tmp_path / "clone")


def step(there: Path, name: str, fails: bool = False) -> str:
    return run("bash", "-e", "-c", STEPS[name], cwd=there, fails=fails)


def test_what_is_committed_with_its_results_passes(there: Path) -> None:
    step(there, VALID)
    step(there, LOCKED)


@pytest.mark.slow
def test_code_or_params_without_their_results_fail(there: Path) -> None:
    script = there / "stages" / "report.py"
    before = script.read_text()
    script.write_text(before + "# a comment\n")
    assert "::error::Run 'dvc repro', and commit dvc.lock" in step(there, LOCKED, fails=True)
    script.write_text(before)
    set_params(there, {"extract": {"freeze": "dens"}})
    assert "extract.freeze: expected 'all'" in step(there, VALID, fails=True)
    step(there, LOCKED, fails=True)


def test_the_workflow_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert list(STEPS) == ["Install", VALID, LOCKED, "Lint", "Test"]
