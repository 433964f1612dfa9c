"""What several tests share."""

import fcntl
import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from stages.compute.backend import ensure_backend

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as the stages do; JAX, imported first, would let TensorFlow log
settings.register_profile("busy machines", deadline=None)
settings.load_profile("busy machines")
ensure_backend()  # as the stages do, also where a test imports Keras before them
PROJECT = Path(__file__).resolve().parents[1]
Refusal = Callable[..., str]
# Warnings are errors in the processes that tests start, too: those of files left open, and those in the project's own
# modules, each named, for this variable takes no patterns. All of them cannot be: DVC has some that would end it.
MODULES = [".".join(path.relative_to(PROJECT).with_suffix("").parts) for path in PROJECT.glob("stages/**/[!_]*.py")]
OWN = [f"error:::{module}" for module in ("__main__", *MODULES)]
os.environ["PYTHONWARNINGS"] = ",".join(["error::ResourceWarning", *OWN])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests that need JAX, KerasHub or Ray where it is not installed."""
    for marker, module, name in (("jax", "jax", "JAX"), ("hub", "keras_hub", "KerasHub"), ("ray", "ray", "Ray")):
        if item.get_closest_marker(marker) and find_spec(module) is None:
            pytest.skip(f"needs {name}: pip install -e '.[{marker}]'")


@pytest.fixture(autouse=True)
def _memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """Free the large networks of slow tests, which Keras and reference cycles would keep."""
    yield
    if any(map(request.node.get_closest_marker, ("slow", "exhaustive"))) and "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
        gc.collect()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Call what must end as an error of the user does, with exit code 1; return what it said."""

    def call(function: Callable[..., object], *arguments: object, **options: object) -> str:
        with pytest.raises(SystemExit) as stopped:
            function(*arguments, **options)
        assert stopped.value.code == 1
        return capsys.readouterr().err

    return call


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return PROJECT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data that lies beside the project on machines that test it."""
    folder = PROJECT.parent / "shared"
    if not (folder / "datasets").is_dir():
        pytest.skip(f"needs real photographs and published files in ../{folder.name}, which is not here")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code, of what declares its inputs and of the default recipe, to work in."""
    shutil.copytree(PROJECT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    shutil.copy(PROJECT / "recipes" / "default.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["check"])
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A copy of the project whose graph has run, on a few own photographs; committed. Copy it before changing it.

    The processes of pytest-xdist share one: the first that needs it makes it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "project").exists():
            (folder / "making").mkdir(parents=True, exist_ok=True)
            run_the_graph(folder / "making" / "project").rename(folder / "project")
    return folder / "project"


def run_the_graph(here: Path) -> Path:
    """Make such a copy, and return it."""
    from tests.helpers.copies import SMALL, commit, copy_project, ran, run, set_params

    copy_project(here)
    own = here / "data" / "own" / "digits"
    run("dvc", "repro", "fetch", cwd=here)
    for folder in sorted((here / "data" / "fetch" / "paper_digits").iterdir()):
        (own / folder.name).mkdir(parents=True)
        for image in sorted(folder.iterdir())[:12]:
            shutil.copy(image, own / folder.name / image.name)
    run("dvc", "add", "-q", "data/own/digits", cwd=here)
    set_params(here, SMALL)
    assert "report" in ran(run("dvc", "repro", cwd=here))
    commit(here, "Run the graph")
    return here


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project whose split and pretrain have run."""
    from stages import pretrain, split
    from tests.helpers.small import prepared_project

    return prepared_project(tmp_path_factory.mktemp("pretrained") / "project", split, pretrain)


@pytest.fixture
def prepared(pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    folder = shutil.copytree(pretrained, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder
