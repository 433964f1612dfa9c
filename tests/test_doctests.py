"""The examples in docstrings run, and give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.conftest import PROJECT

EXAMPLES = [path for path in sorted((PROJECT / "stages").rglob("*.py")) if "    >>> " in path.read_text()]
LIGHT = [path for path in EXAMPLES if path.parent.name != "compute"]  # the others import a framework


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_examples_run(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(PROJECT).with_suffix("").parts))
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
