"""Remotes on S3, on an SSH server and in a folder: who has to run what, and what DVC says when it cannot go on."""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.helpers.copies import clone, commit, ran, run, set_params
from tests.helpers.quick import quick_project
from tests.helpers.servers import serve

EVERYTHING = ["extract", "extract_test", "finetune", "evaluate"]
TAKE = ("--pull", "--allow-missing")


@dataclass(frozen=True)
class Person:
    """Someone with a clone, and with what they set in their shell."""

    here: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, fails: bool | None = False) -> str:
        return run(*command.split(), cwd=self.here, fails=fails, **self.environment)

    def repro(self, *options: str) -> list[str]:
        """Run the pipeline and return the stages that ran."""
        return ran(self.run(" ".join(("dvc", "repro", *options))))

    def commit(self, message: str) -> None:
        commit(self.here, message)
        self.run("git push -q -u origin HEAD")


@dataclass(frozen=True)
class Team:
    """A git repository and a DVC remote that people share."""

    hub: Path
    remote: dict[str, str]
    keys: dict[str, list[str]] = field(default_factory=dict)  # of S3, by person
    keyfile: Path | None = None  # of SSH

    def start(self, project: Path) -> Person:
        """Let Ana put a project that has run on both."""
        run("git", "init", "-q", "--bare", "-b", "main", str(self.hub), cwd=self.hub.parent)
        ana = self.equip("ana", shutil.copytree(project, self.hub.parent / "ana", symlinks=True))
        run("git", "remote", "add", "origin", str(self.hub), cwd=ana.here)
        ana.commit("Add a remote")
        ana.run("dvc push")
        return ana

    def join(self, name: str, branch: str = "main") -> Person:
        """Let another person clone the repository."""
        return self.equip(name, clone(self.hub, self.hub.parent / name, branch))

    def equip(self, name: str, here: Path) -> Person:
        """Give a clone the remote, and a person what they need to reach it."""
        write_settings(here / ".dvc" / "config", self.remote)
        if self.keyfile:
            write_settings(here / ".dvc" / "config.local", {"user": name, "keyfile": str(self.keyfile)})
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        return Person(here, dict(zip(names, self.keys.get(name, []), strict=False)))


def write_settings(file: Path, settings: dict[str, str]) -> None:
    """Write what `dvc remote add -d` and `dvc remote modify` write."""
    lines = [f"{option} = {value}" for option, value in settings.items()]
    file.write_text("\n".join(["[core]", "remote = storage", "['remote \"storage\"']", *lines, ""]))


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody's own keys and settings matter."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has run and is committed, with an image of its own."""
    here = quick_project(tmp_path_factory.mktemp("done"))
    (here / ".gitignore").unlink()
    (here / "data" / "own" / "images").mkdir(parents=True)
    (here / "data" / "own" / "images" / "one.png").write_bytes(b"an image")
    run("dvc", "add", "-q", "data/own/images", cwd=here)
    pipeline = (here / "dvc.yaml").read_text()
    extract = f"cmd: {sys.executable} stages.py extract\n"
    assert extract in pipeline
    (here / "dvc.yaml").write_text(pipeline.replace(extract, f"{extract}    deps: [data/own/images]\n"))
    assert ran(run("dvc", "repro", cwd=here)) == EVERYTHING
    commit(here, "Run")
    return here


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """An S3 server."""
    with serve("s3_server") as server:
        yield server


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An SSH server."""
    folder = tmp_path_factory.mktemp("ssh")
    with serve("ssh_server", str(folder)) as server:
        yield {**server, "folder": folder}


@pytest.fixture
def team(request: pytest.FixtureRequest, tmp_path: Path) -> Team:
    """A team whose remote is of the kind that a test asks for."""
    hub, kind = tmp_path / "hub.git", getattr(request, "param", "folder")
    server = request.getfixturevalue(kind) if kind != "folder" else {}
    if kind == "s3":
        return Team(hub, {"url": f"s3://team/{tmp_path.name}", "endpointurl": server["url"]}, keys=server["keys"])
    if kind == "ssh":
        (tmp_path / "home" / ".ssh").mkdir(parents=True)
        other = f"[127.0.0.1]:{server['port']} {(server['folder'] / 'other_key.pub').read_text()}"
        (tmp_path / "home" / ".ssh" / "known_hosts").write_text(other)  # of another host: DVC compares no host keys
        remote = {"url": f"ssh://127.0.0.1/{tmp_path.name}", "port": str(server["port"])}
        return Team(hub, remote, keyfile=server["folder"] / "key")
    return Team(hub, {"url": str(tmp_path / "storage")})


@pytest.mark.slow
@pytest.mark.parametrize("team", ["s3", "ssh"], indirect=True)  # a folder: test_two_colleagues in test_graph.py
def test_what_one_pushed_nobody_runs_again(team: Team, done: Path) -> None:
    ana = team.start(done)

    ben = team.join("ben")
    ben.run("dvc pull")
    assert ben.repro() == []
    ben.run("git switch -q -c frozen")
    set_params(ben.here, {"extract": {"freeze": "all"}})
    assert ben.repro() == EVERYTHING
    ben.commit("Freeze everything")
    ben.run("dvc push --run-cache")

    chen = team.join("chen", "frozen")  # the machine with a GPU: it takes only what it needs
    assert chen.repro(*TAKE) == []
    assert not (chen.here / "data" / "extract").exists()
    set_params(chen.here, {"finetune": {"seed": 8}})
    assert chen.repro(*TAKE) == ["finetune", "evaluate"]
    assert (chen.here / "data" / "extract").exists()
    chen.commit("Another seed")
    chen.run("dvc push --run-cache")

    ana.run("git fetch -q")
    ana.run("git switch -q frozen")
    ana.run("dvc pull")
    assert ana.repro() == []
    assert ana.run("git status --porcelain") == ""
    ana.run("git switch -q main")
    set_params(ana.here, {"extract": {"freeze": "all"}})  # what Ben ran, without his commit
    assert ana.repro(*TAKE) == ["evaluate"], "git holds metrics.json, so no remote restores it"
    assert ana.run("git diff --stat origin/frozen~1") == ""


@pytest.mark.slow
def test_a_push_hands_on_the_outputs_of_one_commit_and_the_records_of_all_runs(team: Team, done: Path) -> None:
    ana = team.start(done)
    for seed in (5, 6, 7):
        set_params(ana.here, {"finetune": {"seed": seed}})
        assert ana.repro() == ["finetune", "evaluate"]
        if seed > 5:
            ana.commit(f"Seed {seed}")
    ana.run("dvc push --run-cache")

    ben = team.join("ben")
    assert ben.repro(*TAKE) == [], "the last commit is there"
    set_params(ben.here, {"finetune": {"seed": 5}})  # of this there is a record, but no outputs
    assert "finetune" in ben.repro(*TAKE)
    ben.run("git checkout -q .")
    ben.run("git switch -q --detach HEAD~1")
    assert "Missing cache files" in ben.run("dvc pull data/finetune", fails=True)

    ana.run("dvc push --all-commits")
    chen = team.join("chen")
    set_params(chen.here, {"finetune": {"seed": 6}})
    assert chen.repro(*TAKE) == ["evaluate"]
    set_params(chen.here, {"finetune": {"seed": 5}})  # was never committed
    assert "finetune" in chen.repro(*TAKE)


@pytest.mark.slow
def test_experiments_travel_with_their_outputs(team: Team, done: Path) -> None:
    ana = team.start(done)
    ana.run("dvc exp run -S finetune.seed=5 -n seed_5")
    ana.run("git checkout -q .")
    ana.run("dvc checkout -q")
    sweep = run("python", "-P", "-m", "stages", "sweep", "--depths=all,none", cwd=ana.here, PYTHONPATH=str(PROJECT))
    assert ran(sweep) == ["extract", "extract_test", *["finetune", "evaluate"] * 2]
    said = ana.run("dvc exp push origin")
    assert all(name in said for name in ("seed_5", "sweep-all", "sweep-none")), said

    ben = team.join("ben")
    assert "sweep-all" in ben.run("dvc exp list origin")
    ben.run("dvc exp pull origin")
    for name in ("seed_5", "sweep-all"):
        ben.run(f"dvc exp apply {name}")
        assert ben.repro("evaluate") == []
    metrics = json.loads((ben.here / "data" / "evaluate" / "metrics.json").read_text())
    assert metrics["val"]["log_loss"] == pytest.approx(0.06)
    shown = json.loads(ben.run("dvc exp show --json"))
    assert {one["name"] for row in shown for one in row.get("experiments") or []} == {
        "seed_5",
        "sweep-all",
        "sweep-none",
    }


@pytest.mark.slow
def test_the_queue_runs_copies_with_what_git_and_dvc_know(team: Team, done: Path) -> None:
    ana = team.start(done)
    (ana.here / "data" / "own" / "weights.h5").write_bytes(b"added to neither")
    (ana.here / "data" / "own" / ".gitignore").write_text("/images\n/weights.h5\n")
    with (ana.here / "stages.py").open("a") as stages:  # an edit that is not committed
        stages.write("print('own:', *sorted(os.listdir('data/own')), flush=True)\n")
    before = ana.run("git status --porcelain")
    for name, seed, more in (("one", 5, ""), ("two", 6, "-C data/own/weights.h5")):
        ana.run(f"dvc exp run --queue -S extract.freeze=all -S finetune.seed={seed} -n {name} {more}")
    ana.run("dvc queue start")
    wait(ana)
    assert ana.run("git status --porcelain") == before
    assert ana.run("dvc queue status").count("Success") == 2
    logs = [ana.run(f"dvc queue logs {name}") for name in ("one", "two")]
    assert [ran(log) for log in logs] == [EVERYTHING, ["finetune", "evaluate"]], "the frozen pass ran again"
    for log, more in zip(logs, ("", " weights.h5"), strict=True):
        assert f"own: .gitignore images images.dvc{more}\n" in log


@pytest.mark.slow
def test_a_group_can_write_to_its_folder(team: Team, done: Path) -> None:
    team.remote["shared"] = "group"
    storage = Path(team.remote["url"])
    storage.mkdir()
    storage.chmod(0o2775)
    umask = os.umask(0o002)
    try:
        team.start(done).run("dvc push --run-cache")
    finally:
        os.umask(umask)
    modes = {path: path.stat().st_mode for path in storage.rglob("*")}
    assert [path for path, mode in modes.items() if path.is_dir() and mode & 0o2070 != 0o2070] == []
    assert [path for path, mode in modes.items() if not mode & 0o040] == []


def wait(person: Person) -> None:
    """Wait until nothing is queued or running."""
    for _ in range(120):
        if not re.search(r"\b(Queued|Running)\b", person.run("dvc queue status")):
            return
        time.sleep(1)
    person.run("dvc queue stop --kill")
    raise AssertionError("the queue did not end within two minutes")


@dataclass(frozen=True)
class Mistake:
    """What someone forgot, and what DVC says of it. In values, {here} is the test's folder and {keys} that of keys."""

    kind: str
    said: str
    who: str = "ben"
    environment: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    command: str = "dvc pull"


FORBIDDEN = "(403) when calling the HeadObject operation: Forbidden"
HIDDEN = {"PYTHONPATH": "{here}/hidden"}
UNPRIVILEGED = "" if os.geteuid() else "setpriv --bounding-set=-all --inh-caps=-all "  # or root writes everywhere
MISTAKES = {
    "S3 not installed": Mistake("s3", "s3 is supported, but requires 'dvc-s3' to be installed", environment=HIDDEN),
    "SSH not installed": Mistake("ssh", "ssh is supported, but requires 'dvc-ssh' to be installed", environment=HIDDEN),
    "no keys": Mistake("s3", "Unable to locate credentials", "nobody"),
    "half of the keys": Mistake("s3", "Partial credentials found in env", "nobody", {"AWS_ACCESS_KEY_ID": "ana"}),
    "wrong keys": Mistake(
        "s3", FORBIDDEN, "nobody", {"AWS_ACCESS_KEY_ID": "ana", "AWS_SECRET_ACCESS_KEY": "of another"}
    ),
    "not of the team": Mistake("s3", FORBIDDEN, "stranger"),
    "may not list": Mistake("s3", "(AccessDenied) when calling the ListObjectsV2 operation", "no_list"),
    "may not write": Mistake("s3", "(AccessDenied) when calling the PutObject operation", "reader", command="dvc push"),
    "no such bucket": Mistake("s3", "The specified bucket does not exist", settings={"url": "s3://teem/thaw"}),
    "not pushed": Mistake("s3", "Some of the cache files do not exist neither locally nor on remote"),
    "not mounted": Mistake("folder", "Some of the cache files do not exist neither locally nor on remote"),
    "folder of others": Mistake(
        "folder", "Permission denied: '", settings={"url": "{here}/read_only"}, command=f"{UNPRIVILEGED}dvc push"
    ),
    "another key": Mistake("ssh", "Permission denied for user", settings={"keyfile": "{keys}/other_key"}),
    "another user": Mistake("ssh", "Permission denied for user", "eve"),
    "no key file": Mistake("ssh", "No such file or directory: '", settings={"keyfile": "{keys}/no_key"}),
    "nobody listens": Mistake("ssh", "Connect call failed", settings={"port": "9"}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("team", "mistake"), [(each.kind, each) for each in MISTAKES.values()], indirect=["team"], ids=list(MISTAKES)
)
def test_what_dvc_says_of_a_mistake(
    team: Team, mistake: Mistake, done: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    places = {"here": tmp_path, "keys": team.keyfile.parent if team.keyfile else None}
    (tmp_path / "read_only").mkdir(mode=0o555)
    (tmp_path / "hidden").mkdir()
    for name in ("dvc_s3", "dvc_ssh"):
        (tmp_path / "hidden" / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}')\n")
    here = tmp_path / "clone"
    if "push" in mistake.command:
        shutil.copytree(done, here, symlinks=True)
    else:
        clone(done, here)
    someone = team.equip(mistake.who, here)
    local = here / ".dvc" / "config.local"
    settings = {option: value.format(**places) for option, value in mistake.settings.items()}
    if settings:
        write_settings(local, {**({"user": mistake.who} if mistake.kind == "ssh" else {}), **settings})
    someone.environment.update({name: value.format(**places) for name, value in mistake.environment.items()})
    assert mistake.said in someone.run(mistake.command, fails=True)


def test_the_page_names_each_message() -> None:
    page = " ".join((PROJECT / "docs" / "collaboration.md").read_text().split())
    assert {each.said for each in MISTAKES.values() if each.said not in page} == set()
