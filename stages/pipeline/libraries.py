"""Which libraries have a part in the bytes that stages write, and the versions that are recorded of them."""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

# By the name that Python imports. pyproject.toml pins each with ==.
_LIBRARIES = {
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "h5py": "h5py",
    "imagehash": "imagehash",
    "jax": "jax",
    "jaxlib": "jaxlib",
    "keras": "keras",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "pandas": "pandas",
    # Optional, and recorded all the same: where it is installed, it has this version. Where it is not, HEIC photographs
    # are left out, which DVC cannot know: split says how to run it again.
    "pi_heif": "pi-heif",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "tensorflow": "tensorflow",
}
# What they compute or write with in their turn.
_BRINGS = {"keras": ("h5py",), "scikit-learn": ("scipy",)}
# These check, download or show, and leave no trace in what is written.
_WITHOUT_TRACE = {
    "dvc",
    "pydantic",
    "pydantic_core",
    "requests",
    "ruamel",
    "tabulate",
    "tqdm",
    "urllib3",
    "wcwidth",
    "yaml",
}
_HEAD = """\
# Versions of the libraries on which bytes depend, as pyproject.toml pins them; written by
# `python -m stages check --write`. dvc.yaml lists for each stage those that it uses.
"""


def find_libraries(imports: Iterable[str]) -> set[str]:
    """Return the libraries with a part in the bytes that come with ``imports``, names of modules."""
    found = {_LIBRARIES[base] for name in imports if (base := name.split(".")[0]) in _LIBRARIES}
    return found | {needed for name in found for needed in _BRINGS.get(name, ())}


def find_unclassified(imports: Iterable[str]) -> set[str]:
    """Return the libraries among ``imports`` of which it is not said here whether bytes depend on them."""
    known = sys.stdlib_module_names | _WITHOUT_TRACE | _LIBRARIES.keys() | {"stages"}
    return {name.split(".")[0] for name in imports} - known


def read_pins(project: Path) -> dict[str, str]:
    """Return the version of each of the libraries that the file ``pyproject.toml`` pins with ==."""
    content = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = content["optional-dependencies"]
    optional = (one for extra in ("jax", "heic") for one in extras.get(extra, []))
    listed = map(Requirement, [*content["dependencies"], *optional])
    found: dict[str, str] = {}
    for one in listed:
        found |= {canonicalize_name(one.name): pin.version for pin in one.specifier if pin.operator == "=="}
    return {name: found[name] for name in sorted(_LIBRARIES.values()) if name in found}


def write_versions(file: Path, project: Path) -> None:
    """Write the versions that ``project`` pins into ``file``."""
    lines = [f'{name}: "{found}"\n' for name, found in read_pins(project).items()]  # 1.10 is no number
    file.write_text(_HEAD + "".join(lines), encoding="utf-8")


def find_unrecorded(file: Path, project: Path) -> list[str]:
    """Return a sentence for each library that is not pinned, or recorded in ``file`` with another version."""
    pinned = read_pins(project)
    written = YAML(typ="safe", pure=True).load(file) if file.exists() else {}
    wrong = [
        f"pyproject.toml: expected {name} pinned with ==, because results depend on its version."
        for name in sorted(set(_LIBRARIES.values()) - pinned.keys())
    ]
    return wrong + [
        f"{file.name}: {name} is {written.get(name, 'not recorded')}, and pyproject.toml pins "
        f"{pinned.get(name, 'none')}. Run `python -m stages check --write`."
        for name in sorted(pinned.keys() | written.keys())
        if written.get(name) != pinned.get(name)
    ]
