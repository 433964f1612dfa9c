"""Comparing revisions: by their predictions, on the images that they share, without running anything."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from scipy.stats import binomtest

from stages.images.split_file import SplitFile, SplitRow, write_split
from stages.measure.intervals import bound_difference
from stages.measure.paired import bound_mean, compute_p_value
from stages.measure.predictions import tabulate
from stages.tools import compare
from tests.conftest import PROJECT
from tests.helpers.copies import commit, init_git, run

CLASSES = ["cat", "dog"]
READING = {"form": "photo", "polarity": "light_on_dark", "fit": "stretch", "range": None}
HISTORY = """phase,epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,kept
head,1,0.9,0.5,0.8,0.6,0.001,0
head,2,0.7,0.6,0.6,0.7,0.001,1
thawed,3,0.5,0.8,0.5,0.8,0.0001,1
"""
LAYERS = "index,name,type,parameters,state\n0,conv,Conv2D,320,frozen\n1,dense,Dense,6000,thawed\n"

Compare = Callable[..., tuple[int, str]]


class Repository:
    """A repository whose dvc.lock and cache are written by hand, as `dvc repro` would write them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cache = path / ".dvc" / "cache" / "files" / "md5"
        (path / ".dvc").mkdir(parents=True)
        (path / ".dvc" / "config").write_text("")
        (path / ".dvc" / ".gitignore").write_text("/cache\n/tmp\n/config.local\n")
        (path / ".gitignore").write_text("/data\n")
        shutil.copy(PROJECT / "recipes" / "default.yaml", path / "params.yaml")
        init_git(path)

    def record(
        self,
        right: str,
        *,
        numbers: Iterable[int] | None = None,
        test: str = "",
        freeze: str = "all",
        folder: str = "",
        relabelled: int = -1,
        **lock: Any,
    ) -> None:
        """Write the results of an experiment: '+' for each image predicted correctly, '-' for each mistake.

        Image ``n`` is a cat if n is even, a picture of its number, in ``folder``; ``relabelled`` has the other class.
        """
        numbers = list(numbers if numbers is not None else range(len(right)))
        split, val = self.pack(numbers, right, folder, relabelled)
        test_split, predictions = self.pack(range(1000, 1000 + len(test)), test, folder)
        finetune = {
            "history.csv": HISTORY.encode(),
            "layers.csv": LAYERS.encode(),
            **({"val.parquet": val} if val else {}),
        }
        listed = [{"md5": self.keep(content), "relpath": name} for name, content in sorted(finetune.items())]
        outs = {"split": {"data/split/val.parquet": self.keep(split), "data/split/test.parquet": self.keep(test_split)}}
        outs["finetune"] = {"data/finetune": self.keep(json.dumps(listed).encode(), ".dir")}
        outs["evaluate"] = {"data/evaluate/predictions.parquet": self.keep(predictions)}
        deps = {"split": {"data/own/pets": "0" * 32, "stages/split.py": "1" * 32}, "finetune": outs["split"]}
        deps["evaluate"] = outs["finetune"]
        params = {"finetune": {"params.yaml": {"extract": {"freeze": freeze, "views": 8}}}}
        stages = {
            name: {
                "cmd": f"python -m stages.{name}",
                "deps": [entry(path, md5) for path, md5 in {**deps[name], **lock.get(name, {})}.items()],
                "params": params.get(name, {}),
                "outs": [entry(path, md5) for path, md5 in written.items()],
            }
            for name, written in outs.items()
        }
        (self.path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))

    def pack(self, numbers: Iterable[int], right: str, folder: str, relabelled: int = -1) -> tuple[bytes, bytes]:
        """Return a split file and the predictions of its images."""
        rows, labels = [], []
        for number in numbers:
            label = (number + (number == relabelled)) % 2
            picture = io.BytesIO()
            Image.new("RGB", (8, 8), (number % 256, number // 256, 200)).save(picture, "PNG")
            rows.append(SplitRow(f"{folder}{CLASSES[label]}/{number}.png", CLASSES[label], picture.getvalue(), 8, 8))
            labels.append(label)
        path = self.path / "split.parquet"
        write_split(path, rows, CLASSES, READING)
        own = np.array([0.9 if sign == "+" else 0.2 for sign in right]).reshape(-1, 1)
        probabilities = np.where(np.arange(2) == np.array(labels, dtype=int).reshape(-1, 1), own, 1 - own)
        table = io.BytesIO()
        pq.write_table(tabulate(SplitFile(path), {"finetuned": probabilities}), table)
        content = path.read_bytes()
        path.unlink()
        return content, table.getvalue() if right else b""

    def keep(self, content: bytes, end: str = "") -> str:
        """Put a file into the cache and return its name there."""
        md5 = hashlib.md5(content).hexdigest() + end
        file = self.cache / md5[:2] / md5[2:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return md5

    def lose(self, path: str) -> None:
        """Remove what HEAD has at this path from the cache."""
        lock = yaml.safe_load(run("git", "show", "HEAD:dvc.lock", cwd=self.path))
        outs = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
        (self.cache / outs[path][:2] / outs[path][2:]).unlink()


def entry(path: str, md5: str) -> dict[str, object]:
    return {"path": path, "hash": "md5", "md5": md5, "size": 1}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository with one commit: 30 of 40 validation and 15 of 20 test images right."""
    here = Repository(tmp_path / "project")
    monkeypatch.chdir(here.path)
    monkeypatch.setattr(compare, "find_cache", lambda: here.cache)
    here.record("+" * 30 + "-" * 10, test="+" * 15 + "-" * 5)
    commit(here.path, "Freeze all")
    return here


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compare:
    """Run the command; return its exit code and what it printed."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["compare", *arguments])
        with pytest.raises(SystemExit) as ended:
            compare.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out + said.err

    return call


def read_page() -> str:
    return Path("data/compare/compare.html").read_text(encoding="utf-8")


def test_the_better_model_is_named_with_intervals_and_the_pictures_that_flipped(
    repository: Repository, compared: Compare
) -> None:
    repository.record("-" + "+" * 37 + "--", freeze="block_13", test="+" * 20)
    code, said = compared()
    assert code == 0
    assert said.startswith("HEAD (")
    assert re.search(
        r"^workspace is better than HEAD on 40 validation images: log loss 0\.2\d+ against 0\.4\d+", said, re.M
    )
    low, high = (f"{100 * end:+.1f}" for end in bound_difference(1, 8, 40, 0.95))
    assert f"Accuracy changes by +17.5 points ({low} to {high}): 8 images won, 1 lost." in said
    assert "40 images can show a difference of " in said
    assert re.search(r"^workspace +0\.2\d+ +92\.5 % +80\.1 to 97\.4 ", said, re.M)
    assert re.search(rf" 8 +1 +{binomtest(1, 9).pvalue:.3f}$", said, re.M)
    assert re.search(r"^extract.freeze +all +block_13$", said, re.M)
    assert "test" not in said
    page = read_page()
    assert page.count('<figure class="wrong">') == 1
    assert page.count('<figure class="right">') == 8
    assert "✗&nbsp;dog</b> ·&nbsp;80&nbsp;%" in page
    assert "before: cat · 90\N{NO-BREAK SPACE}%" in page
    assert 'alt="cat/0.png"' in page
    assert 'alt="Learning curves"' in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_test_images_are_asked_for(repository: Repository, compared: Compare) -> None:
    repository.record("+" * 30 + "-" * 10, test="+" * 5 + "-" * 15)
    code, said = compared("--test")
    assert code == 0
    assert "workspace predicts what HEAD predicts on 40 validation images." in said
    assert "workspace is worse than HEAD on 20 test images" in said
    page = read_page()
    assert "<h2>The test images</h2>" in page
    assert "<h3>Test images right with HEAD, wrong with workspace: 10</h3>" in page
    assert "Validation images right" not in page


def test_without_a_revision_it_is_main_or_head(repository: Repository, compared: Compare) -> None:
    code, said = compared()
    assert code == 2
    assert said == "compare: expected a revision, because dvc.lock is that of main. For example: HEAD~1\n"
    run("git", "switch", "-q", "-c", "frozen", cwd=repository.path)
    repository.record("+" * 40)
    assert compared()[1].startswith("HEAD (")
    commit(repository.path, "Another")
    assert compared()[1].startswith("main (")


def test_revisions_are_branches_tags_commits_and_experiments(repository: Repository, compared: Compare) -> None:
    first = run("git", "rev-parse", "HEAD", cwd=repository.path).strip()
    run("git", "tag", "v1", cwd=repository.path)
    repository.record("+" * 35 + "-" * 5)
    commit(repository.path, "Better")
    better = run("git", "rev-parse", "HEAD", cwd=repository.path).strip()
    run("git", "update-ref", f"refs/exps/{first[:2]}/{first[2:]}/sweep-all", better, cwd=repository.path)
    run("git", "update-ref", "refs/exps/stash", first, cwd=repository.path)
    for old, new in (("v1", "sweep-all"), (first[:8], "workspace"), ("HEAD~1", better[:7])):
        assert "+12.5 points" in compared(old, new)[1]
    run("git", "update-ref", f"refs/exps/{better[:2]}/{better[2:]}/v1", better, cwd=repository.path)
    code, said = compared("v1")
    assert code == 2
    assert f"v1: expected one commit; several have that name: {', '.join(sorted((first[:7], better[:7])))}" in said
    assert "nothing: expected a branch, tag, commit or experiment." in compared("nothing")[1]
    assert "expected different revisions" in compared("main", "main")[1]


# 30 of the 40 images were right.
@pytest.mark.parametrize(("right", "allowed", "code"), [(27, "0.5", 0), (20, "0.5", 1), (20, "40", 0)])
def test_only_a_drop_beyond_chance_ends_with_1(
    repository: Repository, compared: Compare, right: int, allowed: str, code: int
) -> None:
    repository.record("+" * right + "-" * (40 - right))
    ended, said = compared("HEAD", "--max-drop", allowed)
    assert ended == code
    assert f"--max-drop {allowed}: {'failed' if code else 'passed'}: on 40 validation images, the accuracy of" in said
    assert re.search(r"40 images can show a drop of \d+\.\d points or more\.", said)


def test_the_gate_judges_the_test_images_where_they_are_asked_for(repository: Repository, compared: Compare) -> None:
    repository.record("+" * 30 + "-" * 10, test="-" * 20)
    assert compared("HEAD", "--max-drop", "0.5")[0] == 0
    assert compared("HEAD", "--max-drop", "0.5", "--test")[0] == 1


@pytest.mark.parametrize("arguments", [("--max-drop", "-1"), ("--max-drop", "much"), ("--best",)])
def test_what_it_does_not_know_ends_with_2(
    repository: Repository, compared: Compare, arguments: tuple[str, ...]
) -> None:
    assert compared("HEAD", *arguments)[0] == 2


def test_the_gate_compares_two(repository: Repository, compared: Compare) -> None:
    run("git", "tag", "v1", cwd=repository.path)
    code, said = compared("v1", "HEAD", "main", "--max-drop", "1")
    assert (code, said) == (2, "compare: --max-drop: expected one or two revisions, received 3.\n")


def test_what_the_cache_lacks_is_named_with_the_command_that_fetches_it(
    repository: Repository, compared: Compare
) -> None:
    repository.record("+" * 30 + "-" * 9, test="+" * 9)
    repository.lose("data/split/val.parquet")
    code, said = compared("main")
    assert code == 0
    assert "DVC's cache lacks data/split/val.parquet. To fetch: dvc fetch --all-commits data/split/val.parquet" in said
    assert "DVC&#x27;s cache lacks data/split/val.parquet" in read_page()
    repository.lose("data/finetune")
    code, said = compared("main")
    assert code == 2
    [line] = said.splitlines()
    assert line.startswith("compare: main (")
    files = "data/finetune/val.parquet data/finetune/history.csv data/finetune/layers.csv data/split/val.parquet"
    assert line.endswith(f"To fetch: dvc fetch --all-commits {files}")


def test_what_cannot_be_read_ends_in_a_line(repository: Repository, compared: Compare) -> None:
    repository.record("+" * 40)
    for content, name in ((b"epoch\n1\n", "history.csv"), (b"PAR1", "val.parquet")):
        lock = yaml.safe_load(Path("dvc.lock").read_text())
        md5 = lock["stages"]["finetune"]["outs"][0]["md5"]
        listing = repository.cache / md5[:2] / md5[2:]
        entries = {entry["relpath"]: entry for entry in json.loads(listing.read_bytes())}
        entries[name]["md5"] = repository.keep(content)
        listing.write_text(json.dumps(list(entries.values())))
        code, said = compared("HEAD")
        assert code == 2
        assert re.fullmatch(rf"compare: data/finetune/{name} of workspace cannot be read \(.+\)\. .+ finds\.\n", said)


def test_only_shared_images_count(repository: Repository, compared: Compare) -> None:
    # Ten images are gone, ten are new, one has another class; the others have moved to another folder.
    repository.record("+" * 40, numbers=range(10, 50), folder="new/", relabelled=12)
    code, said = compared("HEAD")
    assert code == 0
    assert "on 29 validation images" in said
    assert "10 images won, 0 lost" in said
    assert re.search(r"^workspace +40 +29 +11$", said, re.M)
    repository.record("+" * 5, numbers=range(100, 105))
    code, said = compared("HEAD")
    assert code == 2
    assert "expected validation images that all revisions have; received 40 in HEAD, 5 in workspace" in said


def test_several_are_ranked_by_validation_alone(repository: Repository, compared: Compare) -> None:
    run("git", "tag", "first", cwd=repository.path)
    for name, right, test in (("worse", 25, 20), ("better", 38, 10)):
        repository.record("+" * right + "-" * (40 - right), test="+" * test + "-" * (20 - test))
        commit(repository.path, name)
        run("git", "tag", name, cwd=repository.path)
    code, said = compared("first", "worse", "better", "--test")
    assert code == 0
    assert "Of 2 others, better is the best by validation log loss." in said
    validation, test = said.split("On 40 validation images")[1].split("On 20 test images")
    for part in (validation, test):
        assert re.findall(r"^(first|worse|better) +0\.\d{4} ", part, re.M) == ["better", "first", "worse"]
    assert "better: the best of 3 by log loss on 40 validation images" in validation
    assert "the best of" not in test
    assert "of all 2 differences together" in said
    assert "better is worse than first on 20 test images" in said


def test_markdown_shows_names_as_they_are(repository: Repository, compared: Compare) -> None:
    repository.record("-" * 2 + "+" * 38, folder="<b>a|b_c</b>/")
    code, said = compared("HEAD", "--markdown")
    assert code == 0
    assert said.startswith("## HEAD (")
    assert "### Difference from HEAD\n\n| revision | log loss |" in said
    assert r"| \<b\>a\|b\_c\</b\>/cat/0.png | cat | dog | 80 % |" in said
    assert "<b>" not in said


def test_what_is_doubtful_is_said(repository: Repository, compared: Compare) -> None:
    with Path("params.yaml").open("a") as params:
        params.write("# edited\n")
    assert "params.yaml is edited, and dvc.lock is not: the edits have not run." in compared("HEAD")[1]
    repository.record("+" * 40, evaluate={"data/split/test.parquet": "2" * 32}, split={"stages/split.py": "3" * 32})
    said = compared("HEAD")[1]
    assert "): evaluate ran before split last wrote data/split/test.parquet." in said
    assert "The code differs: stages/split.py." in said


def test_without_validation_images_only_the_test_images_can_be_compared(
    repository: Repository, compared: Compare
) -> None:
    repository.record("", test="+" * 20)
    code, said = compared("HEAD")
    assert code == 2
    assert "expected data/finetune/val.parquet, which was not written there." in said
    assert "compare the test images: --test" in said
    code, said = compared("HEAD", "--test")
    assert code == 0
    assert "on 20 test images" in said


def test_a_dvc_lock_with_conflicts_is_no_result(repository: Repository, compared: Compare) -> None:
    Path("dvc.lock").write_text("<<<<<<< HEAD\nschema: '2.0'\n")
    assert compared("HEAD") == (
        2,
        "compare: dvc.lock is not what DVC writes: it was truncated, or a merge left conflicts.\n",
    )


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 5), (3, 9), (9, 3), (40, 70)])
def test_mcnemars_test_is_the_binomial_one(lost: int, won: int) -> None:
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1
    assert compute_p_value(lost, won) == pytest.approx(expected)


def test_the_interval_of_a_mean_covers_it() -> None:
    draw = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        mean, low, high = bound_mean(draw.normal(0.1, 1, 60), 0.95)
        inside += low < 0.1 < high
        assert low < mean < high
    assert inside > 365


def test_it_starts_without_a_framework() -> None:
    loaded = "{'keras', 'tensorflow', 'onnxruntime', 'sklearn', 'scipy'} & sys.modules.keys()"
    assert run("python", "-c", f"import sys, stages.tools.compare; print({loaded})", cwd=PROJECT) == "set()\n"


PIPELINE = """
stages:
  split:
    cmd: python -m stages.split
    deps: [data/own/pets, stages/split.py]
    outs: [data/split/val.parquet, data/split/test.parquet]
  finetune:
    cmd: python -m stages.finetune
    deps: [data/split/val.parquet, data/split/test.parquet]
    params: [extract.freeze, extract.views]
    outs: [data/finetune]
  evaluate:
    cmd: python -m stages.evaluate
    deps: [data/finetune]
    outs: [data/evaluate/predictions.parquet]
"""


@pytest.mark.slow
def test_a_pull_request_is_judged_in_a_clone_without_data(tmp_path: Path) -> None:
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "compare.yml").read_text())
    [step] = [step for step in workflow["jobs"]["compare"]["steps"] if step.get("name") == "Compare"]
    one = Repository(tmp_path / "one")
    (one.path / "dvc.yaml").write_text(PIPELINE)
    one.record("+" * 150 + "-" * 50, test="+" * 10)
    commit(one.path, "Freeze all")

    def judge(branch: str, code: int) -> str:
        clone, summary = tmp_path / branch, tmp_path / f"{branch}.md"
        run("git", "clone", "-q", str(one.path), str(clone), cwd=tmp_path)
        run("git", "checkout", "-q", "--detach", f"origin/{branch}", cwd=clone)
        variables = {"GITHUB_BASE_REF": "main", "GITHUB_STEP_SUMMARY": str(summary), "PYTHONPATH": str(PROJECT)}
        said = run("bash", "-e", "-c", f"{step['run']}\n", cwd=clone, fails=bool(code), **variables, **step["env"])
        assert code == 0 or "open data/compare/compare.html" in said
        assert run("git", "status", "--porcelain", cwd=clone) == ""
        return summary.read_text()

    assert judge("main", 0) == "No DVC remote is configured, so there are no predictions to compare.\n"
    shutil.rmtree(tmp_path / "main")
    run("dvc", "remote", "add", "-q", "-d", "storage", str(tmp_path / "remote"), cwd=one.path)
    commit(one.path, "A remote")
    run("dvc", "push", "-q", cwd=one.path)
    for branch, right in (("worse", 120), ("harmless", 149)):
        run("git", "switch", "-q", "-c", branch, "main", cwd=one.path)
        one.record("+" * right + "-" * (200 - right), test="+" * 10, freeze=branch)
        commit(one.path, branch)
        run("dvc", "push", "-q", cwd=one.path)
    said = judge("worse", 1)
    assert "workspace is worse than origin/main on 200 validation images" in said
    assert "failed: on 200 validation images" in said
    assert "| extract.freeze | all | worse |" in said
    assert "### Validation images right with origin/main, wrong with workspace: 30" in said
    page = (tmp_path / "worse" / "data" / "compare" / "compare.html").read_text()
    assert page.count('<figure class="wrong">') == 24, "pictures came along"
    outs = {
        out["path"]: out["md5"]
        for out in yaml.safe_load((one.path / "dvc.lock").read_text())["stages"]["split"]["outs"]
    }
    cached = {f"{file.parent.name}{file.name}" for file in (tmp_path / "worse" / ".dvc" / "cache").rglob("??/*")}
    assert {path for path, md5 in outs.items() if md5 in cached} == {"data/split/val.parquet"}, "no test images"
    assert "passed: on 200 validation images" in judge("harmless", 0)
