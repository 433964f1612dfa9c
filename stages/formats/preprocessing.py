"""``preprocess.py``: from image files to a model's input, in one file that needs nothing else of this project.

It is joined from the sources of the modules that the stages run, so it computes the same. Left out are the imports
between these modules and whatever ``load`` does not reach: a model of photographs gets no code for handwriting.
"""

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from textwrap import fill, indent
from types import ModuleType

from stages.base import errors
from stages.images import bit_depth, contract, decode, ink, load, resample, ruling
from stages.images.contract import Contract

LIBRARIES = ("numpy", "pillow", "scipy")  # what it may need

_IMPORTED = {"pillow": "PIL"}  # by another name
_HEIC = "pi_heif"  # optional: imported by the function that needs it
_HEAD = '''\
"""Turn image files into the pixels that the model beside this file expects.

    from pathlib import Path
    from preprocess import load

    pixels = load(Path("photo.jpg").read_bytes())  # uint8, shape {shape}

`python preprocess.py photo.jpg > pixels.bin` writes the same values, row by row, for programs in other languages.
An image that cannot be used raises BadImage, whose text is the reason.

Needs Python 3.11 or later. Made with {libraries}; other versions may decode and
resize slightly differently. HEIC photographs also need pi-heif.

Thaw joined this file from the modules that made the pixels for training and measuring the model.
"""

'''
_TAIL = """\
if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            sys.stdout.buffer.write(load(Path(name).read_bytes()).tobytes())
        except BadImage as error:
            sys.exit(f"{name}: {error}")
"""
_TAIL_IMPORTS = "import sys\nfrom pathlib import Path\n"


def join_preprocessing(model: Contract, versions: Mapping[str, str]) -> str:
    """Return the content of ``preprocess.py``.

    Args:
        model: the contract of the model.
        versions: of LIBRARIES.

    Raises:
        ValueError: the modules do not fit into one file: a name means two things, or something else is imported.
    """
    modules = [errors, contract, bit_depth, decode, *([resample, ruling, ink] if model.form == "ink" else []), load]
    joined = {module.__name__ for module in modules}
    parts = {module: [_adapt(each, model) for each in _split(module, joined)] for module in modules}
    kept = _find_needed([each for part in parts.values() for each in part])
    used = set[str]().union(*(each.names for each in kept), ["sys", "Path"])
    imports = _choose_imports([*map(inspect.getsource, modules), _TAIL_IMPORTS], used)
    libraries = [f"{name} {versions[name]}" for name in LIBRARIES if f" {_IMPORTED.get(name, name)} " in imports]
    shape = (model.size, model.size, model.channels)
    head = _HEAD.format(shape=shape, libraries=", ".join(libraries))
    texts = [_write_part(module, [each for each in part if each in kept]) for module, part in parts.items()]
    content = f"{head}{imports}\n" + "\n\n".join([*filter(None, texts), _TAIL])
    _check_imports(content)
    return content


@dataclass(frozen=True)
class _Statement:
    """A statement of a module.

    Attributes:
        text: its lines, and those of the comment above it.
        space: the blank lines above these.
    """

    text: str
    space: int

    @cached_property
    def node(self) -> ast.stmt:
        return ast.parse(self.text).body[0]

    @property
    def is_block(self) -> bool:
        return isinstance(self.node, ast.FunctionDef | ast.ClassDef)

    @cached_property
    def defines(self) -> set[str]:
        """The names that it gives a meaning; none if it is there for its effect."""
        if isinstance(self.node, ast.FunctionDef | ast.ClassDef):
            return {self.node.name}
        return {each.id for each in _find_names(self.node) if isinstance(each.ctx, ast.Store)}

    @cached_property
    def names(self) -> set[str]:
        """All names in it."""
        return {each.id for each in _find_names(self.node)}


def _find_names(node: ast.AST) -> Iterator[ast.Name]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Name))


def _split(module: ModuleType, joined: set[str]) -> Iterator[_Statement]:
    """Yield the statements of a module, apart from its docstring and imports.

    Args:
        module: whose source to read.
        joined: names of the modules whose imports are left out, since all is in one file.
    """
    lines, end = inspect.getsource(module).splitlines(keepends=True), 0
    for node in ast.parse("".join(lines)).body:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))]) - 1
        start = next((place + 1 for place in range(first - 1, end - 1, -1) if not lines[place].startswith("#")), end)
        space, end = start - end, node.end_lineno or 0
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and not isinstance(node, ast.Import | ast.ImportFrom):
            cut = _find_cut(node, joined)
            yield _Statement("".join(lines[place] for place in range(start, end) if place not in cut), space)


def _find_cut(node: ast.AST, joined: set[str]) -> set[int]:
    """Return the lines of imports from ``joined`` modules inside functions, and of branches that import from others."""
    cut: set[int] = set()
    for each in ast.walk(node):
        first = each.body[0] if isinstance(each, ast.If) else each
        if isinstance(first, ast.ImportFrom) and _is_own(first):
            if first.module in joined:
                cut |= {first.lineno - 1, first.lineno}  # and the blank line below it
            elif isinstance(each, ast.If):
                cut |= set(range(each.lineno - 1, each.end_lineno or 0))
    return cut


def _is_own(node: ast.ImportFrom) -> bool:
    return str(node.module).startswith("stages.")


def _adapt(statement: _Statement, model: Contract) -> _Statement:
    """Give the file the contract of one model, and the command that installs pi-heif away from this project."""
    text = statement.text
    if "Contract" in statement.defines:
        values = {each.name: getattr(model, each.name) for each in fields(model)}
        lines = [f"{name}={_quote(value)},\n" for name, value in values.items()]
        text += f"\n\nCONTRACT = Contract(  # of this model\n{indent(''.join(lines), '    ')})\n"
    elif "load" in statement.defines:
        text = text.replace("contract: Contract)", "contract: Contract = CONTRACT)", 1)
    elif "HEIC_EXTRA" in statement.defines:
        text = 'HEIC_EXTRA = "pip install pi-heif"\n'
    return replace(statement, text=text)


def _quote(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _find_needed(statements: list[_Statement]) -> list[_Statement]:
    """Return the statements that ``load`` needs, in order: those that it names, that these name, and so on."""
    needed, queue = set[str](), ["load"]
    while queue:
        name = queue.pop()
        if name not in needed:
            needed.add(name)
            queue += [used for each in statements if name in each.defines or not each.defines for used in each.names]
    kept = [each for each in statements if not each.defines or each.defines & needed]
    defined = [name for each in kept for name in each.defines]
    if twice := {name for name in defined if defined.count(name) > 1}:
        raise ValueError(f"expected names that only one of the joined modules defines, received {sorted(twice)}")
    return kept


def _choose_imports(sources: Iterable[str], used: set[str]) -> str:
    """Return the import statements that give the ``used`` names their meaning, sorted as isort does.

    Args:
        sources: of the joined modules.
        used: names in the joined file.
    """
    plain, members = set[str](), dict[str, set[str]]()
    for node in (node for source in sources for node in ast.parse(source).body):
        if isinstance(node, ast.Import):
            plain |= {ast.unparse(alias) for alias in node.names if (alias.asname or alias.name) in used}
        elif isinstance(node, ast.ImportFrom) and not _is_own(node):
            names = {ast.unparse(alias) for alias in node.names if (alias.asname or alias.name) in used}
            members.setdefault(str(node.module), set()).update(names)
    lines = [f"import {name}" for name in sorted(plain)]
    lines += [f"from {name} import {', '.join(sorted(members[name]))}" for name in sorted(members) if members[name]]
    foreign = [line for line in lines if line.split()[1].partition(".")[0] not in sys.stdlib_module_names]
    return "\n".join([*(line for line in lines if line not in foreign), "", *foreign, ""])


def _check_imports(content: str) -> None:
    names = set[str]()
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    allowed = sys.stdlib_module_names | {_IMPORTED.get(name, name) for name in LIBRARIES} | {_HEIC}
    if others := sorted(name for name in names if name.partition(".")[0] not in allowed):
        raise ValueError(f"expected imports of the standard library, {', '.join(LIBRARIES)}; received {others}")


def _write_part(module: ModuleType, statements: list[_Statement]) -> str:
    """Return what is kept of a module, below its docstring as a comment; "" if that is nothing."""
    if not statements:
        return ""
    paragraphs = [" ".join(each.split()) for each in inspect.cleandoc(module.__doc__ or "").split("\n\n")]
    text = "#\n".join(indent(fill(each, 118, break_on_hyphens=False), "# ") + "\n" for each in paragraphs)
    for before, each in zip([None, *statements], statements, strict=False):
        lines = 2 if each.is_block or (before and before.is_block) else 1 if before is None else min(each.space, 1)
        text += "\n" * lines + each.text
    return text
