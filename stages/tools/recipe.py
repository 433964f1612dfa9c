"""List the recipes, or write one into params.yaml.

    python -m stages recipe                                     list them
    python -m stages recipe cats_dogs_mobilenet_v2              write one
    python -m stages recipe mnist_own_digits --overwrite        write one over uncommitted edits

A recipe is a complete experiment: recipes/default.yaml with the changes of recipes/NAME.yaml.
"""

import argparse
from pathlib import Path

from stages.base.errors import UserError, suggest
from stages.base.files import replace_file
from stages.base.git_command import run_git
from stages.base.params import read_yaml
from stages.base.stage import stage
from stages.base.table import format_table
from stages.pipeline.recipes import apply_recipe, list_changes, read_summary

PARAMS = Path("params.yaml")
RECIPES = Path("recipes")
DEFAULT = "default"


@stage("recipe")
def main() -> None:
    """Run the command."""
    arguments = build_parser().parse_args()
    if not RECIPES.is_dir():
        raise UserError("there is no folder recipes/ here. Run this in the project's top folder.")
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(RECIPES.glob("*.yaml"))}
    if arguments.name is None:
        print("\n".join(format_table((name, read_summary(text)) for name, text in texts.items())))
    else:
        write_recipe(arguments.name, texts, arguments.overwrite)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages recipe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="recipe to write into params.yaml; default: list all")
    parser.add_argument("--overwrite", action="store_true", help="overwrite uncommitted edits")
    return parser


def write_recipe(name: str, texts: dict[str, str], overwrite: bool) -> None:
    """Write a recipe into params.yaml and print what changed.

    Args:
        name: of the recipe.
        texts: all recipes by name.
        overwrite: whether uncommitted edits may be lost.
    """
    if name not in texts:
        raise UserError(f"there is no recipe '{name}'.{suggest(name, texts)} There are: {', '.join(texts)}.")
    result = render_recipe(name, texts)
    if PARAMS.exists() and not overwrite and has_edits() and not is_recipe(PARAMS.read_text(encoding="utf-8"), texts):
        raise UserError(
            "params.yaml has edits that are not committed; they would be lost. Commit them, or undo them with "
            "`git checkout params.yaml`, or add --overwrite."
        )
    before = read_yaml(PARAMS) if PARAMS.exists() else {}
    replace_file(PARAMS, result.encode())
    lines = list(list_changes(before, read_yaml(PARAMS)))
    print("\n".join(lines) if lines else f"params.yaml is recipe {name} already.")
    if lines:
        print(f"params.yaml is now recipe {name}. Next: dvc repro")


def render_recipe(name: str, texts: dict[str, str]) -> str:
    """Return the text of params.yaml for a recipe."""
    return texts[DEFAULT] if name == DEFAULT else apply_recipe(texts[DEFAULT], texts[name], name)


def is_recipe(text: str, texts: dict[str, str]) -> bool:
    """Whether ``text`` is the params.yaml of a recipe."""
    return any(text == render_recipe(name, texts) for name in texts)


def has_edits() -> bool:
    """Whether params.yaml has uncommitted edits, or git cannot tell."""
    try:
        return bool(run_git("status", "--porcelain", "--", str(PARAMS)))
    except UserError:
        return True


if __name__ == "__main__":
    main()
