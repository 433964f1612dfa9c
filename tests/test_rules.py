"""The rules that keep the pipeline honest, each shown to catch what it is there for.

Complete and minimal: what a stage imports, opens and reads is what it declares. Shown twice: by reading the code, and
by running each stage in a folder that holds nothing else.
"""

import ast
import errno
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.base.errors import UserError
from stages.base.folders import replace_folder
from stages.base.params import read_yaml
from stages.base.stage import stage
from stages.compute.devices import count_gpus
from stages.pipeline.dependencies import find_closure, find_problems, write_dependencies
from tests.conftest import PROJECT
from tests.helpers.copies import run

STAGES = ["fetch", "split", "pretrain", "extract", "extract_test", "finetune", "evaluate", "report", "export"]
FRAMEWORKS = {"tensorflow", "keras", "jax", "torch"}
TRAINING = {"pretrain", "finetune"}  # the stages that need a framework, on a machine without a GPU

# A Python that finds this module runs it first: it refuses every connection, and notes what was imported by the end.
WATCH = """
import atexit
import sys
from pathlib import Path

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise PermissionError(f"a stage opened a socket: {arguments[1:]}")

sys.addaudithook(refuse)
atexit.register(lambda: Path(__file__).with_name("imported").write_text("\\n".join(sys.modules)))
"""


def pipeline(folder: Path = PROJECT) -> dict[str, Any]:
    return read_yaml(folder / "dvc.yaml")


def test_dvc_yaml_declares_what_the_stages_use() -> None:
    assert list(pipeline()["stages"]) == STAGES
    assert find_problems(PROJECT, pipeline()) == []


@pytest.mark.parametrize(
    ("script", "line", "said"),
    [
        (
            "report.py",
            "import stages.measure.metrics",
            "report: imports stages/measure/metrics.py, which its deps lack",
        ),
        ("draw/curves.py", "from stages.images.ink import ink", "report: imports stages/images/ink.py"),
        (
            "report.py",
            "def f():\n    from stages.compute import networks",
            "report: imports stages/compute/networks.py",
        ),
        ("splitting/stratified.py", 'open("data/pretrain/metrics.json")', "split: opens data/pretrain/metrics.json"),
        ("split.py", 'OTHER = Path("data/pretrain/metrics.json")', "split: opens data/pretrain/metrics.json"),
        ("finetune.py", 'TEST = Path("data/split/test.parquet")', "finetune: opens data/split/test.parquet"),
        ("finetune.py", 'TEST = Path("data/extract_test")', "finetune: opens data/extract_test"),
        ("split.py", 'read_section(PARAMS, "export", Split)', "split: reads export, which its params lack"),
        ("split.py", 'read_values(PARAMS, "compute", C, "devices")', "split: reads compute.devices, which its params"),
        ("images/decode.py", "import matplotlib", "split: imports matplotlib, which its stages/versions.yaml lack"),
        ("draw/curves.py", "from ..images import ink", "report: imports stages/images/ink.py"),
        (
            "report.py",
            'import importlib as i; i.import_module(".images.ink", "stages")',
            "imports stages/images/ink.py",
        ),
        ("split.py", "import stages.base.params as p; p.read_section(PARAMS, 'export', Split)", "split: reads export"),
        ("split.py", "import importlib; importlib.import_module(SOURCE)", ": what is imported is"),
        ("draw/page.py", 'TEMPLATE = Path(__file__).with_name("extra.css")', "report: opens stages/draw/extra.css"),
    ],
)
def test_what_is_not_declared_is_caught(here: Path, script: str, line: str, said: str) -> None:
    path = here / "stages" / script
    (here / "stages" / "draw" / "extra.css").touch()
    path.write_text(f"{path.read_text()}\n{line}\n")
    assert any(said in problem for problem in find_problems(here, pipeline(here)))


@pytest.mark.parametrize(
    ("stage", "key", "item", "said"),
    [
        ("report", "deps", "stages/images/ink.py", "report: its deps list stages/images/ink.py, which it does not use"),
        ("split", "deps", "data/pretrain", "split: its deps list data/pretrain, which it does not use"),
        ("split", "params", "export", "split: its params list export, which it does not use"),
        ("split", "outs", "data/other.csv", "split: writes data/other.csv, which is not in data/split"),
    ],
)
def test_what_is_declared_in_vain_is_caught(here: Path, stage: str, key: str, item: str, said: str) -> None:
    content = pipeline(here)
    content["stages"][stage][key].append(item)
    assert any(said in problem for problem in find_problems(here, content))


def test_what_the_code_uses_is_written_into_dvc_yaml(here: Path) -> None:
    for script, line in {
        "draw/curves.py": "from ..images import ink",
        "draw/page.py": 'open(Path(__file__).with_name("extra.css"))',
        "export.py": 'from stages.base import params\nparams.read_values(PARAMS, "compute", Compute, "frozen")',
    }.items():
        with (here / "stages" / script).open("a") as file:
            file.write(f"\n{line}\n")
    (here / "stages" / "draw" / "extra.css").touch()
    write_dependencies(here)
    content = pipeline(here)
    assert find_problems(here, content) == []
    assert {"stages/images/ink.py", "stages/draw/extra.css"} <= set(content["stages"]["report"]["deps"])
    assert "compute.frozen" in content["stages"]["export"]["params"]


@pytest.mark.parametrize("stage", ["split", "report"])
def test_what_is_no_longer_declared_is_caught(here: Path, stage: str) -> None:
    content = pipeline(here)
    removed = [dep for dep in content["stages"][stage]["deps"] if dep.endswith(".py")][-1]
    content["stages"][stage]["deps"].remove(removed)
    assert f"dvc.yaml: {stage}: imports {removed}, which its deps lack. Add it." in find_problems(here, content)


def resolve(declared: str, params: dict[str, Any]) -> str:
    """Fill a ``${section.key}`` of dvc.yaml in."""
    return re.sub(r"\$\{(\w+)\.(\w+)\}", lambda match: str(params[match[1]][match[2]]), declared)


def sandbox(finished: Path, name: str, folder: Path) -> Path:
    """Make a folder that holds what stage ``name`` declares, and nothing else of the project."""
    stage = pipeline(finished)["stages"][name]
    item = "digits" if name == "fetch" else None
    stage = stage.get("do", stage)
    params, catalog = read_yaml(finished / "params.yaml"), "stages/downloads/catalog.yaml"
    for declared in stage["deps"]:
        source = finished / resolve(declared, params)
        target = folder / resolve(declared, params)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    yaml = YAML()
    chosen: dict[str, Any] = {}
    for param in (param for param in stage.get("params", []) if isinstance(param, str)):
        section, _, key = param.partition(".")
        chosen.setdefault(section, {}).update({key: params[section][key]} if key else params[section])
    if chosen:
        yaml.dump(chosen, folder / "params.yaml")
    if item:
        yaml.dump({item: read_yaml(finished / catalog)[item]}, folder / catalog)
    (folder / ".python").mkdir()
    (folder / ".python" / "sitecustomize.py").write_text(WATCH)
    return folder


def outs(finished: Path, name: str) -> list[str]:
    stage = pipeline(finished)["stages"][name]
    stage = stage.get("do", stage)
    listed = [
        out if isinstance(out, str) else next(iter(out)) for key in ("outs", "metrics") for out in stage.get(key, [])
    ]
    return [out.replace("${item}", "digits") for out in listed]


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def alone(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Path]]]:
    """The sandbox of each stage after it ran there; two run at a time, for each uses one processor as it starts."""

    def run_alone(name: str) -> Path:
        folder = sandbox(finished, name, tmp_path_factory.mktemp(name))
        arguments = ["digits"] if name == "fetch" else []
        run("python", "-m", f"stages.{name}", *arguments, cwd=folder, PYTHONPATH=str(folder / ".python"))
        return folder

    pool = ThreadPoolExecutor(2)
    yield {name: pool.submit(run_alone, name) for name in STAGES}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_needs_what_it_declares_and_writes_the_same_bytes(
    finished: Path, alone: dict[str, Future[Path]], name: str
) -> None:
    folder = alone[name].result()
    for out in outs(finished, name):
        assert content(folder / out) == content(finished / out), f"{out} differs from the first run's"


@pytest.mark.skipif(count_gpus() > 0, reason="on a GPU a framework runs what is frozen")
@pytest.mark.parametrize("name", STAGES)
def test_only_a_stage_that_trains_imports_a_framework(alone: dict[str, Future[Path]], name: str) -> None:
    """Export writes ONNX alone here: the other formats are TensorFlow's."""
    imported = set((alone[name].result() / ".python" / "imported").read_text().split())
    assert "stages.base.stage" in imported, "it did not run"
    assert bool(FRAMEWORKS & imported) == (name in TRAINING), FRAMEWORKS & imported


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('open("recipes/default.yaml")', "recipes/default.yaml: No such file or directory"),
        ('read_section(PARAMS, "export", Split)', "section 'export:' is missing"),
        ("import stages.transfer.freeze", "No module named 'stages.transfer'"),
        ('import socket; socket.create_connection(("127.0.0.1", 9))', "a stage opened a socket"),
    ],
)
def test_the_sandbox_catches_what_reading_the_code_may_miss(
    finished: Path, tmp_path: Path, line: str, said: str
) -> None:
    folder = sandbox(finished, "split", tmp_path)
    script = folder / "stages" / "split.py"
    script.write_text(script.read_text().replace("def main() -> None:\n", f"def main() -> None:\n    {line}\n"))
    output = run("python", "-m", "stages.split", cwd=folder, fails=True, PYTHONPATH=str(folder / ".python"))
    assert said in output


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with pytest.raises(FileNotFoundError), replace_folder(target) as folder:
        (folder / "half").rename(folder / "missing")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".partial-result").mkdir()
    (tmp_path / ".partial-result" / "left by a killed run").touch()
    with replace_folder(target) as folder:
        (folder / "first").touch()
        assert not target.exists()
    with pytest.raises(KeyboardInterrupt), replace_folder(target):
        raise KeyboardInterrupt
    assert [path.name for path in target.iterdir()] == ["first"], (
        "an interrupted second run lost the first one's result"
    )
    with replace_folder(target) as folder:
        (folder / "second").touch()
    assert [path.name for path in target.iterdir()] == ["second"]


def test_a_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from stages.base.folders import replace_folder\n"
        "with replace_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'first').touch(); print('writing', flush=True); time.sleep(60)"
    )
    target = tmp_path / "result"
    other = subprocess.Popen([sys.executable, "-c", code, str(target)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "writing\n"
    said = f"process {other.pid} is already writing result. Wait until it ends, or end it: kill {other.pid}"
    with pytest.raises(UserError, match=said), replace_folder(target):
        pass
    assert (tmp_path / ".partial-result" / "first").exists(), "the second run harmed the first"
    other.kill()
    other.communicate()
    with replace_folder(target) as folder:
        (folder / "second").touch()
    assert [path.name for path in target.iterdir()] == ["second"]


@pytest.mark.parametrize("name", STAGES)
def test_a_full_disk_is_one_line_and_harms_no_result(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """HDF5 would end the process with a segmentation fault."""
    here = shutil.copytree(finished, tmp_path_factory.mktemp("full") / "project", symlinks=True)
    before = {out: content(here / out) for out in outs(finished, name)}
    arguments = ["digits"] if name == "fetch" else []
    process = subprocess.run(
        [sys.executable, "-m", f"stages.{name}", *arguments],
        cwd=here,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert re.fullmatch(
        rf"{name}: data/{name}: .*File too large\. Free some disk, or raise the limit\. Earlier results are unchanged; "
        r"run it again\.\n",
        process.stderr,
    )
    assert {out: content(here / out) for out in before} == before
    assert not (here / "data" / f".partial-{name}").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "data/x"),
            "data/x: Permission denied. Change its permissions",
        ),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory", "a.json"),
            "a.json: Is a directory. Something else is in its",
        ),
        (OSError(errno.EIO, "Input/output error", "b.png"), "b.png: Input/output error. The disk may be failing"),
        (OSError("of no kind"), "data/split: of no kind. Check it. Earlier results are unchanged"),
    ],
)
def test_what_the_system_refuses_is_one_line(capsys: pytest.CaptureFixture[str], error: OSError, said: str) -> None:
    with pytest.raises(SystemExit) as stopped, stage("split"):
        raise error
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith(f"split: {said}")


def test_what_a_terminal_cannot_show_ends_no_stage() -> None:
    code = (
        "from stages.base.errors import UserError\nfrom stages.base.stage import stage\n"
        "from stages.base.terminal import say\nwith stage('split'): say('花'); raise UserError('猫')"
    )
    said = run("python", "-c", code, cwd=PROJECT, fails=True, PYTHONIOENCODING="cp1252")
    assert said == "  \\u82b1\nsplit: \\u732b\n"


INTERRUPT = """
import os
import signal
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "stages.base.stage":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_not_started_by_asking_what_it_does(here: Path, name: str) -> None:
    said = run("python", "-m", f"stages.{name}", "--help", cwd=here)
    assert f"python -m stages.{name}" in said
    said = run("python", "-m", f"stages.{name}", "--faster", cwd=here, fails=True)
    expected = r"no item '--faster'" if name == "fetch" else r"expected no arguments( but --ray)?, received --faster"
    assert re.match(f"{name}: {expected}", said)
    assert not (here / "data").exists()


def test_ctrl_c_while_modules_are_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    commands = [path.stem for path in sorted((PROJECT / "stages" / "tools").glob("*.py"))]
    for arguments in [[f"stages.{name}"] for name in STAGES] + [["stages", name] for name in commands]:
        said = run("python", "-m", *arguments, cwd=PROJECT, fails=True, PYTHONPATH=str(tmp_path))
        assert said == f"{arguments[-1].removeprefix('stages.')}: interrupted.\n"


def test_a_stage_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, time\nfrom pathlib import Path\nfrom stages.base.stage import stage\n"
        "with stage('split'):\n    Path({file!r}).write_text(str(os.getpid()))\n    time.sleep(60)"
    ).format(file=str(tmp_path / "started"))
    starter = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", starter, code],
            cwd=PROJECT,
            env={**os.environ, "DVC_STAGE": "split"},
            stderr=said,
        )
        while not ((tmp_path / "started").exists() and (tmp_path / "started").read_text()):
            time.sleep(0.05)
        process.kill()
        process.wait()
        number = int((tmp_path / "started").read_text())
        while alive(number):
            time.sleep(0.1)
    assert (tmp_path / "said").read_text().startswith("split: interrupted. Run it again;")


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("killed_at", [1, 2])
def test_killed_while_it_is_swapped_in_a_result_is_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    target = tmp_path / "result"
    with replace_folder(target) as folder:
        (folder / "first").touch()
    rename, calls = Path.rename, []

    def killing(path: Path, to: Path) -> Path:
        calls.append(path)
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        return rename(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killing)
        with pytest.raises(KeyboardInterrupt), replace_folder(target) as folder:
            (folder / "second").touch()
    with pytest.raises(FileNotFoundError), replace_folder(target) as folder:
        (folder / "third").rename(folder / "missing")
    assert [path.name for path in target.iterdir()] == ["first"]


def test_one_loader_turns_bytes_into_pixels() -> None:
    """Users' images are opened in one place (sheets draws thumbnails); what feeds a network goes through load."""
    openers = set()
    for path in sorted((PROJECT / "stages").rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if any(
            ast.unparse(call.func) in ("Image.open", "keras.utils.load_img", "tf.io.decode_image") for call in calls
        ):
            openers.add(path.relative_to(PROJECT).as_posix())
    assert openers == {"stages/images/decode.py", "stages/draw/sheets.py"}
    for script in ("pretrain", "extract", "extract_test", "evaluate", "export", "tools/predict"):
        assert "stages/images/load.py" in find_closure(PROJECT, f"stages/{script}.py"), script


def test_nothing_that_trains_or_chooses_reads_the_test_split() -> None:
    stages = pipeline()["stages"]
    readers = {name for name in stages if "data/split/test.parquet" in stages[name].get("deps", [])}
    assert readers == {"extract_test", "evaluate", "export"}
    assert not any("data/split" in stages[name].get("deps", []) for name in stages)
    readers = {name for name in stages if any(d.startswith("data/extract_test") for d in stages[name].get("deps", []))}
    assert readers == {"evaluate"}


@pytest.mark.parametrize("name", [*STAGES, "tools.predict", "tools.recipe", "tools.backbones"])
def test_a_script_imports_no_framework_before_it_has_read_its_params(name: str) -> None:
    code = f"import sys, stages.{name}; print(sorted({FRAMEWORKS} & set(sys.modules)))"
    assert run("python", "-c", code, cwd=PROJECT).strip() == "[]"
