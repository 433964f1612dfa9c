"""Versions of libraries are inputs: recorded, pinned and installed alike; a change runs the stages that it touches."""

import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from stages import split
from stages.base.params import read_yaml
from stages.base.versions import find_differences, find_other_versions
from stages.pipeline.dependencies import find_problems, write_dependencies
from stages.pipeline.libraries import read_pins
from stages.tools import check
from tests.conftest import PROJECT, Refusal
from tests.helpers.copies import ran, run

VERSIONS = Path("stages/versions.yaml")


def record(library: str, other: str, file: Path = VERSIONS) -> None:
    """Write another version of a library into a file."""
    text = file.read_text()
    assert f'{library}: "{version(library)}"\n' in text
    file.write_text(text.replace(f'{library}: "{version(library)}"\n', f'{library}: "{other}"\n'))


def test_what_is_pinned_is_recorded_and_installed() -> None:
    recorded = read_yaml(PROJECT / VERSIONS)
    assert read_pins(PROJECT / "pyproject.toml") == recorded
    missing = {"jax", "jaxlib"} if find_spec("jax") is None else set()
    missing |= {"keras-hub"} if find_spec("keras_hub") is None else set()
    assert {name: version(name) for name in recorded if name not in missing}.items() <= recorded.items()
    assert {"keras", "numpy", "onnxruntime", "pillow", "tensorflow", "jax"} <= recorded.keys()


def test_a_stage_does_not_begin_with_another_version(here: Path, refused: Refusal) -> None:
    record("pillow", "12.0.0")
    assert refused(split.main).startswith(
        "split: the results were recorded with other versions of these libraries: pillow 12.0.0 "
        f"(installed: {version('pillow')}). Install the recorded versions with `pip install -e .`. Or record the "
    )


def test_a_stage_minds_the_libraries_that_it_uses(here: Path) -> None:
    record("matplotlib", "3.0.0")
    assert find_other_versions("report") == [f"matplotlib 3.0.0 (installed: {version('matplotlib')})"]
    assert find_other_versions("split") == find_other_versions("check") == []
    record("tensorflow", "2.0.0")
    assert len(find_other_versions("finetune")) == len(find_other_versions("export")) == 1
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("backend: tensorflow", "backend: jax"))
    assert find_other_versions("finetune") == []
    VERSIONS.unlink()
    assert find_other_versions("report") == find_differences() == []


def test_check_names_another_version(here: Path, refused: Refusal) -> None:
    project = Path("pyproject.toml")
    project.write_text(project.read_text().replace(f"numpy=={version('numpy')}", "numpy==2.0.0"))
    said = refused(check.main)
    assert f"numpy is {version('numpy')}, and pyproject.toml pins 2.0.0. Run `python -m stages check --write`." in said
    write_dependencies(Path())
    said = refused(check.main)
    assert f"installed libraries: expected numpy 2.0.0 (installed: {version('numpy')}). Run `pip install -e .`." in said


def test_a_library_that_is_not_pinned_or_not_known_is_named(here: Path, refused: Refusal) -> None:
    project = Path("pyproject.toml")
    project.write_text(project.read_text().replace(f"scipy=={version('scipy')}", "scipy>=1"))
    script = here / "stages" / "images" / "ink.py"
    script.write_text(f"import cv2\n{script.read_text()}")
    said = refused(check.main)
    assert "pyproject.toml: expected scipy pinned with ==, because results depend on its version." in said
    assert (
        "dvc.yaml: extract: imports cv2, and stages/pipeline/libraries.py does not say whether bytes depend on it"
        in said
    )


def test_what_check_writes_is_what_it_expects(here: Path) -> None:
    before = [Path(name).read_text() for name in ("dvc.yaml", VERSIONS)]
    write_dependencies(here)
    assert [Path(name).read_text() for name in ("dvc.yaml", VERSIONS)] == before, "comments, order and all"
    script = here / "stages" / "split.py"
    script.write_text(f"import matplotlib\nfrom stages.draw import style\n{script.read_text()}")
    assert len(find_problems(here, read_yaml(here / "dvc.yaml"))) == 3  # style, Matplotlib and its fonts
    write_dependencies(here)
    assert find_problems(here, read_yaml(here / "dvc.yaml")) == []
    script.write_text(script.read_text().partition("from stages.draw import style\n")[2])
    write_dependencies(here)
    assert [Path(name).read_text() for name in ("dvc.yaml", VERSIONS)] == before


def test_another_version_runs_the_stages_that_use_it_or_is_accepted(finished: Path, tmp_path: Path) -> None:
    here = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    record("matplotlib", "3.0.0", here / VERSIONS)
    said = run("dvc", "repro", cwd=here, fails=True)
    assert ran(said) == ["report"]
    assert "report: the results were recorded with other versions of these libraries: matplotlib 3.0.0" in said
    run("dvc", "checkout", cwd=here)
    run("dvc", "commit", "-f", "report", cwd=here)
    assert ran(run("dvc", "repro", cwd=here)) == []
