"""The layout of the code: each folder of stages/ answers one question, and imports run one way.

Commands are started as `python -m stages NAME`.
"""

import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.__main__ import main
from tests.conftest import PROJECT
from tests.helpers.copies import run

# From the ground up: a folder imports itself and folders of earlier lines; "" is the stages.
ORDER = [
    {"base"},
    {"images", "cluster"},
    {"compute", "measure", "schema", "sources", "downloads"},
    {"builtin_data", "explain", "splitting", "training"},
    {"backbones"},
    {"transfer"},
    {"draw"},
    {"formats"},
    {"browser", "pipeline"},
    {"", "tools"},
]
LEVEL = {folder: level for level, folders in enumerate(ORDER) for folder in folders}
LARGEST = 0.15  # of all lines
TOOLS = sorted(path.stem for path in (PROJECT / "stages" / "tools").glob("*.py"))
FRAMEWORKS = {"ai_edge_litert", "jax", "keras", "onnxruntime", "tensorflow", "torch"}  # and runtimes


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((PROJECT / "stages").rglob("*.py")):
        parts = path.relative_to(PROJECT / "stages").parts
        if path.name != "__main__.py":
            yield parts[0] if len(parts) > 1 else "", path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_run_one_way() -> None:
    for folder, path in modules():
        for name in imports(path):
            top, _, rest = name.partition(".")
            if top == "stages":
                target = rest.split(".")[0] if (PROJECT / "stages" / rest.split(".")[0]).is_dir() else ""
                allowed = target == folder != "" or LEVEL[target] < LEVEL[folder]
                assert allowed, f"{path.relative_to(PROJECT)} imports {name}"


def test_compute_alone_names_frameworks_and_runtimes() -> None:
    for folder, path in modules():
        if folder != "compute":
            names = {part for name in imports(path) for part in name.split(".")}
            assert not names & FRAMEWORKS, f"{path.relative_to(PROJECT)} imports {names & FRAMEWORKS}"


def test_no_folder_is_too_large() -> None:
    lines: dict[str, int] = {}
    for folder, path in modules():
        lines[folder] = lines.get(folder, 0) + len(path.read_text().splitlines())
    assert lines.keys() == LEVEL.keys()
    for folder, count in lines.items():
        assert count <= LARGEST * sum(lines.values()), f"stages/{folder} has {count} of {sum(lines.values())} lines"


@pytest.mark.parametrize("path", sorted((PROJECT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_reaches_into_private_names(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stages"
        for alias in node.names
    }
    private = {name for name in modules if name.startswith("_")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            private |= {node.attr} if re.match("_[^_]", node.attr) else set()
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            private |= set(
                re.findall(r"""stages\.[\w.]*\._\w+|^'_[^_].*""", "\n".join(map(ast.unparse, node.args)), re.M)
            )
    assert private == set()


def test_help_lists_the_commands_with_a_line_each() -> None:
    said = run("python", "-m", "stages", "--help", cwd=PROJECT)
    for name in TOOLS:
        assert f"  {name}  " in said
        assert f"usage: python -m stages {name} " in run("python", "-m", "stages", name, "--help", cwd=PROJECT)


@pytest.mark.parametrize("name", TOOLS)
def test_help_shows_examples_that_parse(name: str) -> None:
    parser = importlib.import_module(f"stages.tools.{name}").build_parser()
    examples = re.findall(rf"^ *python -m stages {name}\b(.*?)(?:  +|<|$)", parser.format_help(), re.M)
    assert examples
    for arguments in examples:
        parser.parse_args(shlex.split(arguments))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chek", "received 'chek'. Did you mean check?"),
        ("../x", "expected one of backbones, check"),
        ("split", "split is a stage. Run `dvc repro split`, or `python -m stages.split`."),
    ],
)
def test_what_is_no_command_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["stages", name])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
