"""What a Python file is found to import and read, however it is written; what cannot be followed is said."""

import pytest

from stages.pipeline.source_code import read_source_code


@pytest.mark.parametrize(
    "text",
    [
        "import stages.images.ink",
        "from stages.images.ink import ink as form",
        "from ..images import ink",
        "from ..images.ink import ink",
        "from .. import images\nimages.ink.ink(None)",
        "from ..images.ink import *",
        "import importlib\nimportlib.import_module('stages.images.ink')",
        "from importlib import import_module as load\nload('stages.images.ink').ink(None)",
        "import importlib\nimportlib.import_module('..images.ink', __package__)",
        "import importlib\nimportlib.import_module(package='stages', name='.images.ink')",
        "import importlib.util\nimportlib.import_module('.ink', 'stages.images')",
        "__import__('stages.images.ink')",
        "__import__('stages.images', fromlist=['ink'])",
        "__import__('images.ink', None, None, (), 2)",
        "import builtins\nbuiltins.__import__('stages.images.ink')",
        "def late():\n    if True:\n        from ..images import ink",
        "def late():\n    return i.import_module('stages.images.ink')\nimport importlib as i",
    ],
)
def test_an_import_is_found(text: str) -> None:
    found = read_source_code(text, "stages/draw/page.py")
    assert "stages.images.ink" in found.imports
    assert not found.unclear


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("from stages.base.params import read_section as r\nr(P, 'split', Split)", {"split"}),
        ("from stages.base.params import *\nread_section(P, 'split', Split)", {"split"}),
        (
            "from ..base import params\nparams.read_values(P, 'split', Split, 'test', 'val')",
            {"split.test", "split.val"},
        ),
        ("import stages.base.params as p\np.read_section(P, 'split', Split)", {"split"}),
        ("import stages.base.params\nstages.base.params.read_section(P, name='split', schema=Split)", {"split"}),
        ("__import__('stages.base.params').base.params.read_section(P, 'split', Split)", {"split"}),
        ("import importlib as i\ni.import_module('stages.base.params').read_section(P, 'split', Split)", {"split"}),
        ("a, *b = read_values(P, 'split', Split, 'test'), read_section(P, 'export', E)", {"split.test", "export"}),
        ("def read_section(path, name):\n    return path, name", set()),
    ],
)
def test_params_that_are_read_are_found(text: str, params: set[str]) -> None:
    found = read_source_code(text, "stages/draw/page.py")
    assert found.params == params
    assert not found.unclear


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import importlib\nimportlib.import_module(name)", "2: what is imported is known only when it runs"),
        ("import importlib\nimportlib.import_module(f'stages.{name}')", "2: what is imported is known only"),
        ("import importlib\nimportlib.import_module('.ink')", "2: what is imported is known only"),
        ("import importlib\nimportlib.import_module('.ink', package)", "2: what is imported is known only"),
        ("import importlib\nimportlib.import_module(*names)", "2: what is imported is known only"),
        ("from importlib import import_module\nlist(map(import_module, names))", "2: importlib.import_module is used"),
        ("import importlib\ngetattr(importlib, name)('stages')", "2: importlib is used without being called"),
        ("__import__('stages.images', fromlist=names)", "1: what is imported is known only"),
        ("load = __import__", "1: __import__ is used without being called"),
        ("from ... import ink", "1: a relative import leads out of the project"),
        ("exec(code)", "1: exec runs code that no import names"),
        ("import runpy\nrunpy.run_path(path)", "2: runpy.run_path runs code"),
        ("read_section(P, name, Split)", "1: what read_section reads is known only when it runs"),
        ("read_values(P, 'split', Split, *keys)", "1: what read_values reads is known only"),
        ("read_section(**given)", "1: what read_section reads is known only"),
        ("from stages.base import params\nread = params.read_section", "2: stages.base.params.read_section is used"),
        ("from functools import partial\npartial(read_values, P)('split', S, 'val')", "2: read_values is used"),
        ("from stages.base import params as p\nvars(p)[name](P, 'split', Split)", "2: stages.base.params is used"),
        ("getattr(p, 'read_section')(P, 'split', Split)", "1: read_section is looked up by its name"),
        ("vars(p)['read_section'](P, 'split', Split)", "1: read_section is looked up by its name"),
    ],
)
def test_what_cannot_be_followed_is_said(text: str, said: str) -> None:
    (line,) = read_source_code(text, "stages/draw/page.py").unclear
    assert line.startswith(f"stages/draw/page.py:{said}")
    assert line.endswith("so that dvc.yaml can declare what is used.")


def test_files_beside_the_code_and_paths_of_the_project_are_found() -> None:
    text = "STYLE = Path(__file__).with_name('page.css')\nTEST = Path('data/split/test.parquet')\n'and so on.'"
    found = read_source_code(text, "stages/draw/page.py")
    assert found.files == {"page.css"} | {"data/split/test.parquet"}
    assert found.paths == {"data/split/test.parquet"}
