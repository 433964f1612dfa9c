"""What every stage does around its work: say what happens, fail with one line, publish whole outputs."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from stages.base.versions import other_versions

T = TypeVar("T")

_OTHER = (
    "expected the versions that results are recorded with: {}. Install them: `pip install -e .`. Or record what is "
    "installed: change pyproject.toml, run `python -m stages.check --write`, then `dvc repro`, or `dvc commit -f` to "
    "keep the results as they are."
)


class UserError(Exception):
    """A mistake the user can mend. Its message says what was expected, what was found, and what to do."""


def read_json(path: Path, stage: str) -> Any:
    """Read what ``stage`` wrote as JSON.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing. Run `dvc repro {stage}`, or `dvc pull`.") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: expected JSON that can be read, received: {error}. Delete it, and run `dvc repro {stage}`."
        ) from None


def say(text: str) -> None:
    """Print one line of what the stage does, at once even where output goes to a file."""
    print(f"  {text}", flush=True)


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "image") -> Iterable[T]:
    """Show a bar on a terminal while ``items`` are gone through; stay silent in a log file."""
    return tqdm(items, desc=f"  {what}", total=total, unit=f" {unit}", leave=False, disable=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Turn a UserError into one line on stderr and exit code 1, and Ctrl-C into exit code 130.

    A stage of dvc.yaml does not begin with other versions of its libraries than those its results are recorded with.
    """
    try:
        if found := other_versions(name):
            raise UserError(_OTHER.format(", ".join(found)))
        yield
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:  # the reader has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print(f"{name}: interrupted. Run it again; `dvc checkout` brings earlier results back.", file=sys.stderr)
        raise SystemExit(130) from None


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Yield an empty working folder that becomes ``folder`` when, and only when, the block succeeds.

    The working folder lies beside ``folder`` (so that the final step is a rename), is named ``.partial-NAME`` and is
    git-ignored. What an earlier, killed run left there is removed first; wherever it was killed, the earlier result or
    the new one is kept.
    """
    folder = folder.resolve()
    partial, old = folder.with_name(f".partial-{folder.name}"), folder.with_name(f".partial-{folder.name}-old")
    if old.exists() and not folder.exists():
        old.rename(folder)  # killed between the two renames below
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
