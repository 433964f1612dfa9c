"""End this process when its parent ends: if DVC is killed, its stage would otherwise continue.

python -m stages.base.parent repro …      run `dvc repro …`, and end it with the calling script
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

_SECONDS = 0.5  # between checks of the parent
_GRACE = 10.0  # seconds for a clean end, before the process exits anyway


def interrupt_self() -> None:
    """Interrupt this process as Ctrl-C does."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # this also wakes that thread


def follow_parent(end: Callable[[], None] = interrupt_self) -> None:
    """Call ``end`` when the parent process has ended, and exit after a grace period in any case."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS)
        end()
        time.sleep(_GRACE)
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


def _interrupt_group() -> None:
    os.killpg(0, signal.SIGINT)  # DVC, the leader of its process group, and the stage it runs


if __name__ == "__main__":
    follow_parent(_interrupt_group)
    from dvc.cli import main

    sys.exit(main(sys.argv[1:]))
