"""Run the pipeline with several versions of params.yaml, save each as an experiment, and restore the workspace."""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stages.base.errors import UserError
from stages.base.files import replace_file
from stages.base.folders import lock_folder
from stages.base.terminal import say
from stages.pipeline.damage import find_broken_state
from stages.pipeline.experiments import check_repository, save_experiment, stream_dvc
from stages.pipeline.workspace import BEFORE, check_outputs, preserve_workspace, restore_workspace

_RUNNING = "Running stage '"


@dataclass
class Series:
    """Runs of the pipeline, one after the other, in one workspace.

    Attributes:
        params: params.yaml.
        hidden: stages whose lines are not printed.
        said: lines that were printed, which are not repeated.
    """

    params: Path
    hidden: Collection[str] = ()
    said: set[str] = field(default_factory=set)

    def run(self, text: str, target: str) -> tuple[float, bool]:
        """Run the pipeline up to a stage; return the seconds it took, and whether finetune ran or came from the cache.

        Args:
            text: of params.yaml.
            target: the last stage to run.
        """
        lines: list[str] = []
        stage = ""

        def tell(line: str) -> None:
            nonlocal stage
            lines.append(line)
            if line.startswith("Stage '") or line.startswith(_RUNNING):
                stage = line.split("'")[1]
            new = line.startswith("  ") and line not in self.said and stage not in self.hidden
            if new or line.startswith(_RUNNING) or "is cached" in line:
                say(line)
            self.said.add(line)

        replace_file(self.params, text.encode())
        started = time.monotonic()
        stream_dvc("repro", target, tell=tell)
        return time.monotonic() - started, f"{_RUNNING}finetune':" in lines

    def measure(self, name: str, text: str, files: Sequence[Path]) -> float:
        """Run the pipeline up to ``evaluate`` and save it as an experiment.

        Args:
            name: of the experiment.
            text: of params.yaml.
            files: see ``save_experiment``.

        Returns:
            The seconds it took; NaN if finetune came from the cache.
        """
        seconds, trained = self.run(text, "evaluate")
        save_experiment(name, "evaluate", files)
        return round(seconds, 1) if trained else math.nan


def restore_killed() -> bool:
    """Restore the workspace if a series was killed; return whether one was."""
    if not BEFORE.exists():
        return False
    with lock_folder(BEFORE):
        restore_workspace(BEFORE)
    say("restored the workspace of a run that was killed")
    return True


@contextmanager
def open_series(
    params: Path, lock: Path, data: Path, files: Sequence[Path], texts: Sequence[str], hidden: Collection[str] = ()
) -> Iterator[Series]:
    """Yield a series of runs; restore the workspace when the block ends, however it ends.

    Args:
        params: params.yaml.
        lock: dvc.lock.
        data: folder of all outputs.
        files: see ``preserve_workspace``.
        texts: of params.yaml, of all runs.
        hidden: stages whose lines are not printed.

    Raises:
        UserError: the workspace cannot be restored later, or experiments cannot be saved.
    """
    if broken := find_broken_state(lock):
        raise UserError("\n".join(broken))
    check_repository()
    check_outputs()
    data.mkdir(exist_ok=True)
    with lock_folder(BEFORE), preserve_workspace(BEFORE, lock, data, files, params, texts):
        yield Series(params, hidden)
