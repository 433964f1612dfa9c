"""Set up the copy of the project that a benchmark runs in."""

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
    """Set ``images`` and ``weights`` as the project's sources; return the paths of their copies."""
    source, file = bring(here, images), bring(here, weights)
    set_params(here, {"fetch": {"items": []}, "split": {"source": source}, "pretrain": {"source": file}})
    return source, file
