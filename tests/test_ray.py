"""A Ray cluster computes the bytes of one machine, whatever happens to its workers, its nodes and the driver.

The nodes are processes of this machine, each with a core of its own for Ray.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from stages import extract
from stages.base.processor import describe_processor
from stages.cluster.environment import Environment
from tests.conftest import Refusal
from tests.helpers.copies import bring, copy_project, run, set_params

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]  # Ray's own warnings are no errors here
Started = TypeVar("Started")
AUGMENT = {"flip": "horizontal", "rotation": 10, "mixup": 0.4, "cutmix": 1.0}
CHANGES: dict[str, object] = {
    "fetch": {"items": []},
    "split": {"form": "photo", "polarity": "light_on_dark", "train": 0.8, "val": 0.1, "test": "rest"},
    "pretrain": {"backbone": "mobilenet_025", "image_size": 96, "epochs": 0},
    "extract": {"freeze": "block_12", "depths": ["none"], "views": 3, "precision": "float16", "augment": AUGMENT},
}
LOG = Path("data/.resume-extract/train_rows.log")
EXTRACT, EXTRACT_TEST, SPLIT = Path("data/extract"), Path("data/extract_test"), Path("data/split")


@pytest.fixture(scope="module")
def photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of photographs whose split, pretrain, extract and extract_test have run on this machine."""
    here = copy_project(tmp_path_factory.mktemp("photographs") / "project")
    set_params(here, CHANGES)
    source = {"source": bring(here, shared / "datasets" / "cats_dogs")}
    set_params(here, {"split": source, "pretrain": source})
    for stage in ("split", "pretrain", "extract", "extract_test"):
        run("python", "-m", f"stages.{stage}", cwd=here)
    return here


@pytest.fixture
def here(photographs: Path, tmp_path: Path) -> Path:
    """A copy of it without what extract and extract_test wrote."""
    ignored = shutil.ignore_patterns("extract", "extract_test", ".git")
    return shutil.copytree(photographs, tmp_path / "project", ignore=ignored)


def patiently(start: Callable[..., Started], **options: Any) -> Started:
    """Start a node: Ray gives it 30 s, and a busy machine may need more than one try."""
    for _ in range(4):
        with suppress(Exception):
            return start(**options)
    return start(**options)


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No other test has a cluster: they would find each other's."""
    with (tmp_path_factory.getbasetemp().parent / "ray.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def cluster(alone: None) -> Iterator[Any]:
    """A cluster whose head has no core to compute with."""
    from ray.cluster_utils import Cluster

    on_sigterm = signal.getsignal(signal.SIGTERM)
    nodes = patiently(Cluster, initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield nodes
    nodes.shutdown()
    signal.signal(signal.SIGTERM, on_sigterm)  # a node sets its own


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@contextmanager
def driver(here: Path, cluster: Any, stage: str = "extract") -> Iterator[subprocess.Popen[str]]:
    """Start a stage on the cluster; it is ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=here,
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is so, while the stage runs."""
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def done(here: Path) -> int:
    """Return how many chunks of the training images are done."""
    return len((here / LOG).read_text().splitlines()) if (here / LOG).exists() else 0


def begun(here: Path) -> Callable[[], bool]:
    """Whether further chunks of the training images are done."""
    before = done(here)
    return lambda: done(here) >= before + 3


def workers() -> list[int]:
    """Return the processes that compute a chunk."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::_compute"):
                found.append(int(folder.name))
        except OSError:  # it has just ended
            continue
    return found


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
def test_any_number_of_workers_gives_the_bytes_of_one_machine(here: Path, photographs: Path, cluster: Any) -> None:
    for count in (1, 2, 3):
        patiently(cluster.add_node, num_cpus=1)
        with driver(here, cluster) as process:
            said = finish(process)
        cores = f"{count} core{'s' * (count > 1)}"
        assert f"Ray: connected to {cluster.address}; {count + 1} nodes, {cores}\n" in said
        assert content(here / EXTRACT) == content(photographs / EXTRACT)
        assert [path.name for path in (here / "data").glob(".*") if path.name != ".gitignore"] == []
    for stage, folder in (("extract_test", EXTRACT_TEST), ("split", SPLIT)):
        with driver(here, cluster, stage) as process:
            finish(process)
        assert content(here / folder) == content(photographs / folder)


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["worker killed", "node lost", "slow node"])
def test_harm_leaves_no_trace(here: Path, photographs: Path, cluster: Any, harm: str) -> None:
    nodes = [patiently(cluster.add_node, num_cpus=1) for _ in range(2)]
    with driver(here, cluster) as process:
        wait_for(begun(here), process)
        wait_for(workers, process)
        if harm == "worker killed":
            os.kill(workers()[0], signal.SIGKILL)
        elif harm == "node lost":
            cluster.remove_node(nodes[0], allow_graceful=False)
        else:
            slow = workers()[0]
            os.kill(slow, signal.SIGSTOP)
            time.sleep(5)
            os.kill(slow, signal.SIGCONT)
        said = finish(process)
    assert "resuming" not in said
    assert content(here / EXTRACT) == content(photographs / EXTRACT)


@pytest.mark.slow
def test_a_killed_driver_goes_on_on_the_cluster_or_alone(here: Path, photographs: Path, cluster: Any) -> None:
    for _ in range(2):
        patiently(cluster.add_node, num_cpus=1)
    with driver(here, cluster) as process:
        wait_for(begun(here), process)
        process.kill()
        process.wait()
    assert not (here / EXTRACT).exists()
    with driver(here, cluster) as process:
        wait_for(begun(here), process)
        process.kill()
        assert re.search(r"resuming: \d+ of 960 train images are done\n", process.communicate()[0])
    said = run("python", "-m", "stages.extract", cwd=here)
    resumed = re.search(r"resuming: (\d+) of 960 train images are done\n", said)
    assert resumed, said
    assert int(resumed[1]) >= 5 * 64
    assert content(here / EXTRACT) == content(photographs / EXTRACT)


@pytest.mark.slow
def test_a_run_with_other_params_starts_over(here: Path, cluster: Any) -> None:
    patiently(cluster.add_node, num_cpus=1)
    with driver(here, cluster) as process:
        wait_for(begun(here), process)
        process.kill()
        process.wait()
    set_params(here, {"extract": {"seed": 2}})
    with driver(here, cluster) as process:
        said = finish(process)
    assert "starting over: params, code, inputs or libraries differ" in said
    assert "resuming" not in said


@pytest.mark.slow
def test_a_worker_with_another_or_without_a_library_is_told(here: Path, tmp_path: Path, cluster: Any) -> None:
    other = tmp_path / "other"
    (other / "pillow-1.0.dist-info").mkdir(parents=True)
    (other / "pillow-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 1.0\n")
    lacking = tmp_path / "lacking"
    (lacking / "onnxruntime").mkdir(parents=True)
    (lacking / "onnxruntime" / "__init__.py").write_text("raise ImportError(\"No module named 'onnxruntime'\")\n")
    bare = tmp_path / "bare"
    (bare / "tqdm").mkdir(parents=True)
    (bare / "tqdm" / "__init__.py").write_text("raise ImportError(\"No module named 'tqdm'\")\n")
    for folder, expected in (
        (bare, r"ImportError: No module named 'tqdm'. Install the project's packages there: pip install"),
        (other, r"expected pillow [\d.]+, as on the machine that runs the stage, received pillow 1.0. "),
        (lacking, r"No module named 'onnxruntime'. Install it there as on the machine that runs the stage"),
    ):
        node = patiently(cluster.add_node, num_cpus=1, env_vars={"PYTHONPATH": str(folder)})
        with driver(here, cluster) as process:
            said, _ = process.communicate(timeout=120)
        assert process.returncode == 1
        assert re.search(rf"extract: node \S+: {expected}", said), said
        assert "Traceback" not in said
        cluster.remove_node(node)


@pytest.mark.slow
def test_a_cluster_of_this_machine_ends_with_the_stage(here: Path, photographs: Path, alone: None) -> None:
    said = run("python", "-m", "stages.extract_test", "--ray", cwd=here, fails=True)
    assert "data/extract/boundary.json is missing" in said
    said = run("python", "-m", "stages.extract", cwd=here, RAY_ADDRESS="local")
    assert "Ray: no cluster runs here, so one is started, which ends with this stage; 1 node" in said
    assert content(here / EXTRACT) == content(photographs / EXTRACT)
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.extract"],
        cwd=here,
        env={**os.environ, "RAY_ADDRESS": "local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(begun(here), process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("extract: interrupted. Run it again; `dvc checkout` restores earlier results.\n")
    assert workers() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"python": "3.9"}, "expected Python 3.9, as on the machine that runs the stage, received Python 3.1"),
        (
            {"libraries": {"numpy": "1.0"}},
            "expected numpy 1.0, as on the machine that runs the stage, received numpy 2",
        ),
        ({"libraries": {"left-pad": "1.0"}}, "received no left-pad. Install it there: pip install left-pad==1.0"),
        (
            {"processor": "arm64 bf16 sve"},
            "another kind of processor than the first that answered (it lacks arm64 bf16",
        ),
        ({}, None),
    ],
)
def test_what_a_node_has_otherwise_is_named(changes: dict[str, Any], said: str | None) -> None:
    here = replace(Environment.here("extract"), processor=describe_processor())
    difference = replace(here, **changes).find_difference()
    assert difference is None if said is None else said in str(difference)


def test_without_ray_the_extra_is_named(prepared: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr("stages.cluster.cluster.find_spec", lambda _: None)
    said = refused(extract.main)
    assert said == "extract: RAY_ADDRESS is set, and Ray is not installed: pip install -e '.[ray]'\n"


def test_what_cannot_be_reached_is_told(prepared: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal) -> None:
    for address, expected in (
        ("127.0.0.1:1", "RAY_ADDRESS: nothing answers at 127.0.0.1:1 ([Errno 111] Connection refused). Expected HOST:"),
        ("ray://x:10001", "expected auto, local or HOST:PORT of the head node; received ray://x:10001"),
    ):
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert expected in refused(extract.main)
