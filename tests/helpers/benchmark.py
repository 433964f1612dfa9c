"""The copy of the project, and the data in it, with which a benchmark works."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.copies import bring, copy_project, run, set_params


@contextmanager
def project_copy(recipe: str | None = None, folder: Path | None = None) -> Iterator[Path]:
    """Copy the project into a temporary folder below ``folder``, with the params of ``recipe``."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        here = copy_project(Path(temporary) / "project")
        if recipe:
            run("python", "-m", "stages", "recipe", recipe, cwd=here)
        yield here


def bring_data(here: Path, images: Path, weights: Path) -> tuple[str, str]:
    """Make the project split ``images`` and start from ``weights``; return the paths of the copies."""
    source, file = bring(here, images), bring(here, weights)
    set_params(here, {"fetch": {"items": []}, "split": {"source": source}, "pretrain": {"source": file}})
    return source, file
