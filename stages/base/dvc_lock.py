"""Read dvc.lock: what each stage was run with, and what it wrote."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stages.base.errors import UserError

# All values as text, as the file has them: to be compared and shown, not computed with.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class LockedStage(NamedTuple):
    """What DVC recorded when it ran a stage.

    Attributes:
        deps: what it read: a file's or folder's path, and what DVC recorded of it, such as its md5.
        params: by file, such as params.yaml: the keys that it read, and their values.
        outs: what it wrote, like ``deps``.
    """

    deps: dict[str, dict[str, str]]
    params: dict[str, dict[str, Any]]
    outs: dict[str, dict[str, str]]


Lock = dict[str, LockedStage]


def read_lock(path: Path) -> Lock:
    """Read a dvc.lock; it may be missing.

    Raises:
        UserError: it is damaged.
    """
    return parse_lock(path.read_bytes(), str(path)) if path.exists() else {}


def parse_lock(text: str | bytes, name: str) -> Lock:
    """Return the stages in the text of a dvc.lock.

    Args:
        text: the file's content.
        name: of the file, for the message.

    Raises:
        UserError: it is damaged.
    """
    try:
        stages = (yaml.load(text, _LOADER) or {}).get("stages") or {}
        return {
            name: LockedStage(
                {part["path"]: part for part in stage.get("deps", ())},
                stage.get("params", {}),
                {part["path"]: part for part in stage.get("outs", ())},
            )
            for name, stage in stages.items()
        }
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{name} is not what DVC writes: it was truncated, or a merge left conflicts.") from None
