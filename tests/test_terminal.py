"""The terminal: lines that stay above a progress bar, and no bar where there is no terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from tests.conftest import PROJECT

SCRIPT = """
from stages.base.terminal import say, show_progress
for number in show_progress(range(3), "counting"):
    say(f"line {number}")
"""


def test_lines_stay_above_the_progress_bar() -> None:
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    options = {"cwd": PROJECT, "stdin": subprocess.DEVNULL, "env": {**os.environ, "PYTHONPATH": str(PROJECT)}}
    subprocess.run([sys.executable, "-c", SCRIPT], stdout=terminal, stderr=terminal, check=True, **options)  # type: ignore[call-overload]
    os.close(terminal)
    shown = os.read(screen, 100_000).decode()
    os.close(screen)
    rows = [row.rsplit("\r", 1)[-1] for row in shown.split("\r\n")]  # what each row shows in the end
    assert rows[:3] == ["  line 0", "  line 1", "  line 2"]
    assert "  counting:   0%|" in shown
    assert len(rows) == 4
    assert not rows[3].strip(), "the bar does not stay"


def test_without_a_terminal_there_are_only_lines() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("  line 0\n  line 1\n  line 2\n", "")
