"""The price of Ray on one machine, and the driver's memory as the data set grows.

    python -m tests.benchmarks.ray_scale [--images 5000 50000] [--side 96] [--workers 0 1 2] [--folder FOLDER]

For each number of images, an archive of ten class folders of JPEGs is generated and split; MobileNet at a quarter of
its width, with random weights, is frozen up to block_12. Then extract runs on this machine alone, and on a Ray cluster
of nodes that are processes of this machine: with 1 and with 2 workers. Images per second count the pass, with opening
the graph and without starting Ray. CPU seconds are those of the driver and the workers, which depend less on what else
the machine does; Ray's own processes take a few per cent of a core all the time. The bytes of all runs are compared.
Everything is written to FOLDER (default: the temporary folder), which needs 60 kB per image at 96 px, and removed at
the end.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from stages.base.files import hash_file
from tests.benchmarks.measured import Measured, processor, stage, table
from tests.benchmarks.memory import CHOICES, write_images
from tests.helpers.benchmark import project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import set_params

HEAD = ("images", "computed by", "images/s", "CPU s per 1,000", "driver's", "driver, MiB", "a worker, MiB", "bytes")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Watched:
    """The workers of a Ray cluster.

    Attributes:
        begun: CPU seconds of each when the watch began.
        last: CPU seconds of each, as last seen.
        mib: most resident memory of a worker.
    """

    begun: dict[int, float] = field(default_factory=dict)
    last: dict[int, float] = field(default_factory=dict)
    mib: float = 0

    def look(self) -> None:
        """Look at the workers once: those that this process started, directly or not."""
        parents, seconds, commands = {}, {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):  # it has just ended
                number, cells = int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()
                parents[number], seconds[number] = int(cells[1]), (int(cells[11]) + int(cells[12])) / _TICKS
                commands[number] = (folder / "cmdline").read_bytes()
        for number, command in commands.items():
            above = number
            while above in parents and above != os.getpid():
                above = parents[above]
            if above == os.getpid() and command.startswith(b"ray::") and b"Agent" not in command:
                self.last[number] = seconds[number]
                if command.startswith(b"ray::_compute"):
                    with suppress(OSError, IndexError):
                        status = Path(f"/proc/{number}/status").read_text()
                        self.mib = max(self.mib, int(status.partition("VmHWM:")[2].split()[0]) / 1024)

    @property
    def cpu(self) -> float:
        """CPU seconds since the watch began."""
        return sum(seconds - self.begun.get(number, 0) for number, seconds in self.last.items())


def main() -> None:
    """Run extract on data sets of all sizes, alone and on clusters, and print the table."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 50000])
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0: without Ray")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    print(processor())
    rows = [HEAD]
    for count in sorted(arguments.images):
        with project_copy(folder=arguments.folder) as here:
            (here / "data" / "own").mkdir(parents=True, exist_ok=True)
            write_images(here / "data" / "own" / "made.tar", count, arguments.side)
            source = {"source": "data/own/made.tar"}
            set_params(here, CHOICES)
            set_params(here, {"split": source, "pretrain": {**source, "image_size": arguments.side}})
            for name in ("split", "pretrain"):
                stage(here, name)
            alone: dict[str, str] = {}
            for workers in arguments.workers:
                with ray_nodes(workers) if workers else nullcontext(Watched()) as watched:
                    run = stage(here, "extract")
                found = {path.name: hash_file(path, "md5") for path in (here / "data" / "extract").iterdir()}
                alone = alone or found
                rows.append(line(0.9 * count, workers, run, watched, same=found == alone))
                print(*rows[-1], flush=True)
    print(f"\n{table(rows)}")


def line(images: float, workers: int, run: Measured, watched: Watched, *, same: bool) -> tuple[str, ...]:
    """Return a row of the table."""
    who = f"Ray, {workers} worker{'s' * (workers > 1)}" if workers else "this machine alone"
    cpu = (run.cpu + watched.cpu) / images * 1000
    speed = images / run.said["work"]
    memory = f"{watched.mib:,.0f}" if workers else "-"
    return (
        f"{images:,.0f}",
        who,
        f"{speed:.0f}",
        f"{cpu:.2f}",
        f"{run.cpu / images * 1000:.2f}",
        f"{run.mib:,.0f}",
        memory,
        "same" if same else "OTHER",
    )


@contextmanager
def ray_nodes(workers: int) -> Iterator[Watched]:
    """Start a cluster of so many nodes with a core each, which RAY_ADDRESS names inside the block; watch it."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ended, watched = threading.Event(), Watched()
    try:
        for _ in range(workers):
            cluster.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = cluster.address
        watched.look()
        watched.begun = dict(watched.last)

        def watch() -> None:
            while not ended.wait(0.2):
                watched.look()

        thread = threading.Thread(target=watch)
        thread.start()
        yield watched
        ended.set()
        thread.join()
    finally:
        ended.set()
        os.environ.pop("RAY_ADDRESS", None)
        cluster.shutdown()


if __name__ == "__main__":
    main()
