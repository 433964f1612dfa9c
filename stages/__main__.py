"""Run a command: `python -m stages NAME`. The stages of dvc.yaml run as `python -m stages.NAME`.

python -m stages --help            lists the commands
python -m stages check --help      describes one
"""

import argparse
import ast
import importlib
import sys
from pathlib import Path

from stages.base.errors import suggest

_TOOLS = Path(__file__).with_name("tools")


def main() -> None:
    """Run the command that the command line names, with the remaining arguments."""
    commands = {path.stem: read_summary(path) for path in sorted(_TOOLS.glob("[!_]*.py"))}
    width = max(map(len, commands))
    parser = argparse.ArgumentParser(
        prog="python -m stages",
        usage="%(prog)s [-h] COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="\n".join(["commands:", *(f"  {name:<{width}}  {line}" for name, line in commands.items())]),
        epilog="`python -m stages COMMAND --help` describes a command. `dvc repro` runs the stages.",
    )
    parser.add_argument("command", metavar="COMMAND", help="one of those above; further arguments go to it")
    name = parser.parse_args(sys.argv[1:2] or ["--help"]).command
    if name not in commands:
        parser.error(explain_unknown(name, list(commands)))
    sys.argv = [name, *sys.argv[2:]]
    importlib.import_module(f"stages.tools.{name}").main()


def read_summary(path: Path) -> str:
    """Return the first line of a module's docstring. It is read, not imported, for some imports take seconds."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def explain_unknown(name: str, commands: list[str]) -> str:
    """Return what to write instead of ``name``."""
    if name.isidentifier() and Path(__file__).with_name(f"{name}.py").is_file():
        return f"{name} is a stage. Run `dvc repro {name}`, or `python -m stages.{name}`."
    return f"expected one of {', '.join(commands)}; received '{name}'.{suggest(name, commands)}"


if __name__ == "__main__":
    main()
