"""README, CONTRIBUTING and docs: no dead links, commands, recipes, stages or keys; what they show can be run."""

import contextlib
import functools
import importlib
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from stages.base.params import read_yaml
from stages.pipeline.recipes import apply_recipe
from tests.conftest import PROJECT
from tests.helpers.copies import run

PAGES = [PROJECT / f"{name}.md" for name in ("README", "README.ja", "CONTRIBUTING")]
PAGES += sorted((PROJECT / "docs").glob("*.md"))
PARAMS = read_yaml(PROJECT / "params.yaml")
RECIPES = {path.stem for path in (PROJECT / "recipes").glob("*.yaml")}
FOLDERS = ("stages", "tests", "docs", "examples", "recipes")
WRITTEN_AS = r"[A-Z]+"  # a name in capitals stands for what the reader puts there

Found = TypeVar("Found")


def blocks(text: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(text: str) -> Iterator[list[str]]:
    """Go through the words of each command in code blocks and in code spans."""
    for block in blocks(text):
        console = any(line.startswith("$ ") for line in block.splitlines())
        for line in block.splitlines():
            if not console or line.startswith("$ "):
                yield from split_commands(line.removeprefix("$ "))
    for span in spans(text):
        yield from split_commands(span)


def split_commands(line: str) -> Iterator[list[str]]:
    with contextlib.suppress(ValueError):  # a quote in prose
        words = shlex.split(line, comments=True)
        while words:
            end = next((place for place, word in enumerate(words) if word in ("&&", ";") or word.endswith(";")), None)
            command = words if end is None else [*words[:end], words[end].strip("&;")]
            yield [word for word in command if word]
            words = [] if end is None else words[end + 1 :]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@functools.cache
def help_of(module: str) -> str:
    """Return what ``python -m MODULE --help`` prints, without a process of its own."""
    if module.startswith("stages.") and module.count(".") == 1 and not module.endswith("__"):  # a stage
        return importlib.import_module(module).__doc__ or ""
    said, before = io.StringIO(), sys.argv
    try:
        sys.argv = [module, "--help"]
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            importlib.import_module(module).main()
    finally:
        sys.argv = before
    return said.getvalue()


def module_of(words: list[str]) -> tuple[str, list[str]] | None:
    """Return the module that ``python -m ...`` runs, and its arguments; None for another command."""
    if words[:2] != ["python", "-m"] or len(words) < 3:
        return None
    if words[2] != "stages":
        return words[2], words[3:]
    names = [word for word in words[3:] if not word.startswith("-")]
    return (f"stages.tools.{names[0]}", words[4:]) if names else ("stages.__main__", words[3:])


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


def test_every_page_is_linked_from_the_readme() -> None:
    links = re.findall(r"\]\(([^)#]+)", (PROJECT / "README.md").read_text())
    assert {str(page.relative_to(PROJECT)) for page in PAGES[1:]} <= set(links)


def on_each_page(find: Callable[[str], Iterable[Found]]) -> list[tuple[Path, Found]]:
    """Return what is found on all pages, with its page: something, or the test would check nothing."""
    found = [(page, each) for page in PAGES for each in find(page.read_text())]
    assert len(found) > 3
    return found


def test_links_lead_somewhere() -> None:
    for page, link in on_each_page(lambda text: re.findall(r"\]\(((?!https://)[^)]+)\)", text)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_files_that_are_named_exist() -> None:
    file = re.compile(rf"(?!.*{WRITTEN_AS}[./])({'|'.join(FOLDERS)})/[\w./]+")
    for page, span in on_each_page(lambda text: filter(file.fullmatch, spans(text))):
        assert (PROJECT / span).exists(), f"{page.name}: {span}"


def test_names_that_are_said_to_be_in_a_file_are_there() -> None:
    said = r"`(\w+)`\s+(?:in|of)\s+`((?:stages|tests)/[a-z/_]+\.py)`"
    for page, (name, file) in on_each_page(lambda text: re.findall(said, text)):
        assert re.search(rf"\b{name}\b", (PROJECT / file).read_text()), f"{page.name}: {name} in {file}"


def test_every_folder_of_the_code_is_described() -> None:
    folders = {path.parent.name for path in (PROJECT / "stages").glob("*/*.py")}
    assert folders == set(re.findall(r"^\| `(\w+)/` \|", (PROJECT / "docs" / "design.md").read_text(), re.MULTILINE))


def test_commands_exist_with_their_options() -> None:
    for page, words in on_each_page(commands):
        if (found := module_of(words)) and not re.search(rf"\.{WRITTEN_AS}$", found[0]) and found[0] != "venv":
            module, arguments = found
            assert (PROJECT / f"{module.replace('.', '/')}.py").is_file(), f"{page.name}: {' '.join(words)}"
            for option in (word.partition("=")[0] for word in arguments if word.startswith("--")):
                assert re.search(rf"{option}\b", help_of(module)), f"{page.name}: {module} has no {option}"
        if words[0] == "pytest":
            for path in (word.partition("::")[0] for word in words if word.startswith("tests/")):
                assert (PROJECT / path).exists(), f"{page.name}: {path}"


def test_recipes_and_stages_that_are_named_exist() -> None:
    stages, recipes, repros = set(read_yaml(PROJECT / "dvc.yaml")["stages"]), set[str](), set[str]()
    for _, words in on_each_page(commands):
        if words[:4] == ["python", "-m", "stages", "recipe"]:
            recipes |= set(words[4:5])
        if words[:2] == ["dvc", "repro"]:
            repros |= {word.partition("@")[0] for word in words[2:] if not word.startswith("-")}
    assert set() < recipes <= {*RECIPES, "NAME"}
    assert set() < repros <= {*stages, "…"}


def named_keys(text: str) -> set[str]:
    """Return the keys of params.yaml that code spans and commands name."""
    words = " ".join([*spans(text), *(word for words in commands(text) for word in words)])
    files = {f"{section}.{end}" for section in PARAMS for end in ("py", "csv")}
    return set(re.findall(rf"(?<![\w./@-])((?:{'|'.join(PARAMS)})\.[a-z_]+(?:\.[a-z_]+)*)", words)) - files


def test_keys_that_are_named_are_in_params_yaml() -> None:
    for page, key in on_each_page(named_keys):
        value = PARAMS
        for name in key.split("."):
            assert isinstance(value, dict), f"{page.name}: {key}"
            assert name in value, f"{page.name}: {key}"
            value = value[name]


def shown(page: str, command: str) -> list[str]:
    """Return the lines that a page shows below a command, without those that stand for others."""
    [block] = [block for block in blocks((PROJECT / page).read_text()) if f"$ {command}" in block]
    output = block.partition(f"$ {command}")[2].partition("\n")[2].partition("\n$ ")[0]
    return [line.rstrip() for line in output.splitlines() if line != "…"]


@pytest.mark.parametrize(
    ("page", "arguments", "recipe", "mistakes"),
    [
        ("docs/freeze_depth.md", "backbones", "default", {}),
        ("docs/freeze_depth.md", "layers --freeze 15", "horse_zebra_vgg16", {}),
        (
            "docs/commands.md",
            "check",
            "default",
            {"  val: 5": "  vals: 5", "polarity: dark_on_light": "polarity: dark"},
        ),
    ],
    ids=["backbones", "layers", "check"],
)
def test_output_that_is_shown_is_what_commands_print(
    here: Path, page: str, arguments: str, recipe: str, mistakes: dict[str, str]
) -> None:
    params = here / "params.yaml"
    text = apply_recipe(params.read_text(), (PROJECT / "recipes" / f"{recipe}.yaml").read_text(), recipe)
    for right, wrong in mistakes.items():
        text = text.replace(right, wrong, 1)
    params.write_text(text)
    said = run("python", "-m", "stages", *arguments.split(), cwd=here, fails=bool(mistakes)).splitlines()
    lines = shown(page, f"python -m stages {arguments}")
    assert len(lines) > 3
    assert [line for line in lines if line not in [each.rstrip() for each in said]] == []


def test_every_recipe_is_described() -> None:
    table = (PROJECT / "docs" / "recipes.md").read_text()
    assert [name for name in sorted(RECIPES) if f"`{name}`" not in table] == []


def test_every_stage_says_what_it_does() -> None:
    for name, entry in read_yaml(PROJECT / "dvc.yaml")["stages"].items():
        assert len(entry.get("do", entry).get("desc", "")) > 20, name
