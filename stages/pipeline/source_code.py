"""Read from a Python file what it imports, opens and reads of params.yaml, without running it.

Names are followed through relative imports, aliases, modules and ``importlib``. What cannot be followed is reported: a
dependency that nobody sees gives a stale result.
"""

import ast
import re
from functools import cache
from typing import Any, NamedTuple

_READERS = {"read_section", "read_values"}
_READERS_MODULE = "stages.base.params"
_IMPORTERS = {"import_module", "__import__"}
_RUNNERS = {
    *("exec", "eval", "runpy.run_module", "runpy.run_path"),
    *("importlib.util.spec_from_file_location", "importlib.machinery.SourceFileLoader"),
}
_FOLLOWED = _READERS | _IMPORTERS
_PATH = re.compile(r"(data|stages|recipes|tests)/[\w./-]+|params\.yaml")  # of the project
_FILE = re.compile(r"[\w-]+(/[\w-]+)*\.\w+")  # may lie beside the code
_UNKNOWN = object()


class SourceCode(NamedTuple):
    """What a Python file needs.

    Attributes:
        imports: dotted names of modules, and of what they hold.
        paths: of the project, in strings.
        files: strings that may name files beside the code.
        params: sections of params.yaml, and SECTION.KEY.
        unclear: sentences on what could not be followed, each with file and line.
    """

    imports: frozenset[str]
    paths: frozenset[str]
    files: frozenset[str]
    params: frozenset[str]
    unclear: frozenset[str]


@cache  # most files belong to several stages
def read_source_code(text: str, path: str) -> SourceCode:
    """Return what a Python file needs.

    Args:
        text: its content.
        path: relative to the project, such as "stages/draw/page.py"; relative imports start from its folder.
    """
    nodes = list(ast.walk(ast.parse(text)))
    reader = _Reader(path)
    for node in nodes:  # all names first: a function may use one that a later line binds
        reader.bind(node)
    for node in nodes:
        reader.use(node)
    strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return SourceCode(
        frozenset(reader.imports),
        frozenset(filter(_PATH.fullmatch, strings)),
        frozenset(filter(_FILE.fullmatch, strings)),
        frozenset(reader.params),
        frozenset(reader.unclear),
    )


class _Reader:
    """Goes through the nodes of a file's syntax tree and collects what it needs."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.package = ".".join(path.split("/")[:-1])
        self.names: dict[str, set[str]] = {}  # what each name of the file may stand for, dotted
        self.in_place: set[ast.expr] = set()  # called, or followed by an attribute
        self.imports: set[str] = set()
        self.params: set[str] = set()
        self.unclear: set[str] = set()

    def bind(self, node: ast.AST) -> None:
        """Take in an import statement, or that an expression is called or followed by an attribute."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imports.add(alias.name)
                first = alias.name.partition(".")[0]
                self.names.setdefault(alias.asname or first, set()).add(alias.name if alias.asname else first)
        elif isinstance(node, ast.ImportFrom):
            module = self._absolute(node, node.module or "", node.level, self.package)
            self.imports.add(module)
            for alias in node.names:
                self.imports.add(f"{module}.{alias.name}")
                self.names.setdefault(alias.asname or alias.name, set()).add(f"{module}.{alias.name}")
        elif isinstance(node, ast.Call):
            self.in_place.add(node.func)
        elif isinstance(node, ast.Attribute):
            self.in_place.add(node.value)

    def use(self, node: ast.AST) -> None:
        """Take in what an expression imports or reads."""
        if isinstance(node, ast.Name | ast.Attribute):
            names = self._stands_for(node)
            self.imports |= {name for name in names if name.startswith("stages.")}
            if node not in self.in_place and isinstance(node.ctx, ast.Load):
                self._refuse_values(node, names)
        elif isinstance(node, ast.Call):
            for name in self._stands_for(node.func):
                self._call(node, name)
            self._refuse_strings(node.args)
        elif isinstance(node, ast.Subscript):
            self._refuse_strings([node.slice])

    def _stands_for(self, node: ast.expr) -> set[str]:
        """Return what an expression may stand for, dotted; of a call's result only the attribute is known."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, {node.id})
        if isinstance(node, ast.Attribute):
            return {f"{name}.{node.attr}" for name in self._stands_for(node.value)}
        return {""}

    def _call(self, node: ast.Call, name: str) -> None:
        last = name.rpartition(".")[2]
        if last in _READERS:
            self._read_params(node, last)
        elif last == "import_module":
            self._import(node, _argument(node, 0, "name"), self._package(node), [])
        elif last == "__import__":
            members, level = _argument(node, 3, "fromlist", []), _argument(node, 4, "level", 0)
            name = _argument(node, 0, "name")
            self._import(node, "." * level + name if level and isinstance(name, str) else name, self.package, members)
        elif name in _RUNNERS:
            self._refuse(node, f"{name} runs code that no import names. Import it instead")

    def _package(self, node: ast.Call) -> Any:
        given = [*node.args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "package")]
        own = any(isinstance(one, ast.Name) and one.id == "__package__" for one in given)
        return self.package if own else _argument(node, 1, "package")

    def _import(self, node: ast.Call, name: Any, package: Any, members: Any) -> None:
        relative = isinstance(name, str) and name.startswith(".")
        if not isinstance(name, str) or not isinstance(members, list | tuple) or relative > isinstance(package, str):
            self._refuse(node, "what is imported is known only when it runs. Write literal names")
            return
        bare = name.lstrip(".")
        module = self._absolute(node, bare, len(name) - len(bare), package)
        self.imports |= {module, *(f"{module}.{member}" for member in members)}

    def _absolute(self, node: ast.stmt | ast.expr, name: str, level: int, package: str) -> str:
        """Return the full name of a module that is ``level`` dots away from a package."""
        if not level:
            return name
        parts = package.split(".")
        if level > len(parts):
            self._refuse(node, "a relative import leads out of the project. Write the module's full name")
        return ".".join([*parts[: len(parts) + 1 - level], *filter(None, [name])])

    def _read_params(self, node: ast.Call, reader: str) -> None:
        section = _argument(node, 1, "name")
        keys = [_argument(node, place, "") for place in range(3, len(node.args))] if reader == "read_values" else []
        if all(isinstance(one, str) for one in (section, *keys)):
            self.params |= {f"{section}.{key}" for key in keys} or {section}
        else:
            self._refuse(node, f"what {reader} reads is known only when it runs. Write literal names")

    def _refuse_values(self, node: ast.expr, names: set[str]) -> None:
        """Refuse functions, and the modules that hold them, as values: what is called later cannot be seen."""
        for name in names:
            if name in ("importlib", _READERS_MODULE) or name.rpartition(".")[2] in _FOLLOWED:
                self._refuse(node, f"{name} is used without being called. Call it with literal names")

    def _refuse_strings(self, nodes: list[ast.expr]) -> None:
        """Refuse functions that are looked up by name, as ``getattr`` does."""
        for node in nodes:
            if isinstance(node, ast.Constant) and node.value in _FOLLOWED:
                self._refuse(node, f"{node.value} is looked up by its name. Call it with literal names")

    def _refuse(self, node: ast.stmt | ast.expr, why: str) -> None:
        self.unclear.add(f"{self.path}:{node.lineno}: {why}, so that dvc.yaml can declare what is used.")


def _argument(call: ast.Call, place: int, name: str, default: Any = None) -> Any:
    """Return an argument of a call by its place or name, if it is literal."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    value = call.args[place] if place < len(call.args) else given.get(name)
    if value is None:
        return default
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError):
        return _UNKNOWN
