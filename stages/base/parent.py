"""End when the process that started this one ends: a DVC that is killed would leave its stage running.

python -m stages.base.parent repro …      `dvc repro …`, which ends with the script that called it
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

_SECONDS = 0.5  # between looks at the parent
_GRACE = 10.0  # seconds to end in good order, after which the process is ended anyway


def interrupt_self() -> None:
    """Interrupt this process as Ctrl-C does."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # which wakes that thread, too


def follow_parent(end: Callable[[], None] = interrupt_self) -> None:
    """Call ``end`` once the parent process has ended, and exit a little later if that has not ended this one."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS)
        end()
        time.sleep(_GRACE)
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


def _interrupt_group() -> None:
    os.killpg(0, signal.SIGINT)  # DVC, which leads a group of its own here, and its stage


if __name__ == "__main__":
    follow_parent(_interrupt_group)
    from dvc.cli import main

    sys.exit(main(sys.argv[1:]))
