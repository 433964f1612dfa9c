"""Which libraries affect the bytes that stages write, and their recorded versions."""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from stages.base.files import replace_file

# Import name: distribution, which pyproject.toml pins with ==.
_LIBRARIES = {
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "h5py": "h5py",
    "imagehash": "imagehash",
    "jax": "jax",
    "jaxlib": "jaxlib",
    "keras": "keras",
    "keras_hub": "keras-hub",  # optional likewise: without it, pretrain stops
    "matplotlib": "matplotlib",
    "notojp_matplotlib": "notojp-matplotlib",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "pandas": "pandas",
    # Optional, but recorded: if installed, it has this version. Without it, split rejects HEIC photographs and says how
    # to run again once it is installed, which DVC cannot notice.
    "pi_heif": "pi-heif",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "tensorflow": "tensorflow",
}
# Libraries that these compute or write with.
_BRINGS = {"keras": ("h5py",), "scikit-learn": ("scipy",)}
# These validate, download or display, and do not affect what is written.
_WITHOUT_TRACE = {
    "cleanlab",
    "dvc",
    "pydantic",
    "pydantic_core",
    "ray",
    "requests",
    "ruamel",
    "tabulate",
    "threadpoolctl",
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
    """Return the libraries on which bytes depend.

    Args:
        imports: names of imported modules.
    """
    found = {_LIBRARIES[base] for name in imports if (base := name.split(".")[0]) in _LIBRARIES}
    return found | {needed for name in found for needed in _BRINGS.get(name, ())}


def find_unclassified(imports: Iterable[str]) -> set[str]:
    """Return the libraries that this module does not list.

    Args:
        imports: names of imported modules.
    """
    known = sys.stdlib_module_names | _WITHOUT_TRACE | _LIBRARIES.keys() | {"stages"}
    return {name.split(".")[0] for name in imports} - known


def read_pins(project: Path) -> dict[str, str]:
    """Return the version of each library that is pinned with ==.

    Args:
        project: pyproject.toml.
    """
    content = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = content["optional-dependencies"]
    optional = (one for extra in ("jax", "heic", "hub") for one in extras.get(extra, []))
    listed = map(Requirement, [*content["dependencies"], *optional])
    found: dict[str, str] = {}
    for one in listed:
        found |= {canonicalize_name(one.name): pin.version for pin in one.specifier if pin.operator == "=="}
    return {name: found[name] for name in sorted(_LIBRARIES.values()) if name in found}


def write_versions(file: Path, project: Path) -> None:
    """Write the pinned versions.

    Args:
        file: stages/versions.yaml.
        project: pyproject.toml.
    """
    lines = [f'{name}: "{found}"\n' for name, found in read_pins(project).items()]  # quoted: 1.10 is not a number
    replace_file(file, "".join([_HEAD, *lines]).encode())


def find_unrecorded(file: Path, project: Path) -> list[str]:
    """Return a sentence for each library that is not pinned, or is recorded with another version.

    Args:
        file: stages/versions.yaml.
        project: pyproject.toml.
    """
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
