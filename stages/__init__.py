"""The stages of dvc.yaml, the commands, and the modules that they share."""

import sys
from pathlib import Path
from types import TracebackType


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report Ctrl-C in one line, even while modules are imported."""
    if issubclass(kind, KeyboardInterrupt):
        name = Path(sys.argv[0]).stem  # "__main__" until `python -m stages NAME` has read NAME
        print(f"{'stages' if name == '__main__' else name}: interrupted.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _tell
