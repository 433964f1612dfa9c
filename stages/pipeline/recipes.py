"""Recipes: complete experiments, written as overrides of the defaults."""

import copy
import io
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from stages.base.errors import UserError


def _yaml() -> YAML:
    yaml = YAML()  # round trip: preserves comments and layout
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def apply_recipe(default: str, recipe: str, name: str) -> str:
    """Return the text of params.yaml for a recipe: the default text with its own description and values.

    Args:
        default: text of recipes/default.yaml.
        recipe: text of the recipe.
        name: of the recipe, for messages.

    Raises:
        UserError: the recipe sets a key that the defaults lack.
    """
    yaml = _yaml()
    params = yaml.load(default)
    _override(params, yaml.load(recipe) or {}, name, "")
    text = io.StringIO()
    yaml.dump(params, text)
    written = text.getvalue()
    return written.replace(f"# {read_summary(written)}\n", f"# {read_summary(recipe)}\n", 1)


def _override(params: CommentedMap, changes: dict[str, Any], name: str, above: str) -> None:
    for key, value in changes.items():
        if key not in params:
            raise UserError(f"recipes/{name}.yaml: {above}{key}: unknown key; allowed here: {', '.join(params)}.")
        if isinstance(params[key], CommentedMap) and isinstance(value, dict):
            _override(params[key], value, name, f"{above}{key}.")
        elif isinstance(value, list):
            # Blank lines and comments after a list belong to it: the new list takes them over.
            fresh = copy.copy(params[key]) if isinstance(params[key], CommentedSeq) else CommentedSeq()
            fresh[:] = value
            fresh.fa.set_flow_style()
            params[key] = fresh
        else:
            params[key] = value


def read_summary(recipe: str) -> str:
    """Return the first comment line of a recipe, which describes it."""
    first = recipe.lstrip().splitlines()[0] if recipe.strip() else ""
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def list_changes(before: dict[str, Any], after: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the differences between two sets of params.

    >>> list(list_changes({"split": {"seed": 1}}, {"split": {"seed": 2}}))
    ['split.seed: 1 → 2']

    Args:
        before: nested params.
        after: nested params.
        above: prefix of their keys, such as "split.".
    """
    for key in list(before) + [key for key in after if key not in before]:
        old, new = before.get(key, "(not set)"), after.get(key, "(not set)")
        if isinstance(old, dict) and isinstance(new, dict):
            yield from list_changes(old, new, f"{above}{key}.")
        elif old != new:
            yield f"{above}{key}: {old} → {new}"
