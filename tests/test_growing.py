"""Growing data: locked test images stay test images, and what was trained on never becomes one."""

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from stages import split
from stages.base.errors import UserError
from stages.base.splits import SPLITS
from stages.images.split_file import SplitFile
from stages.measure.comparison import describe_overlap
from stages.sources.data_set import Sample
from stages.splitting.amounts import Amount, SplitPlan
from stages.splitting.examine import ExaminedImage
from stages.splitting.groups import Grouping, assign, assign_groups, name_groups
from stages.splitting.lock_table import DIGITS, LockRows, LockTable, read_lock_table, read_rows, write_rows
from stages.splitting.stratified import assign_images, drop_duplicates
from stages.tools import lock
from tests.conftest import Refusal
from tests.helpers.copies import commit, init_git, run, set_params

CLASSES = ("cat", "dog")
SHARES: dict[str, Amount] = {"train": "rest", "val": 0.2, "test": 0.2}
Splits = dict[str, list[ExaminedImage]]


def known(class_name: str, name: int | str, part: str | None = None) -> ExaminedImage:
    source = f"{class_name}/{name}.png"
    sample = Sample(source, class_name, part, lambda: b"")  # type: ignore[arg-type]
    return ExaminedImage(sample, hashlib.sha256(f"{source}".encode()).hexdigest(), 1, 1)


def some(count: int, classes: Iterable[str] = CLASSES) -> list[ExaminedImage]:
    return [known(name, number) for name in classes for number in range(count)]


def locks(splits: Splits, before: LockTable | None = None) -> LockTable:
    """What `stages.tools.lock` makes of splits."""
    test, other = ({i.pixels[:DIGITS] for s in names for i in splits[s]} for names in (["test"], ["train", "val"]))
    before = before or LockTable()
    return LockTable(before.test | test, before.other | other)


def where(splits: Splits) -> dict[str, str]:
    return {image.sample.source: split for split, images in splits.items() for image in images}


def moved(before: dict[str, str], after: dict[str, str]) -> Counter[tuple[str, str]]:
    """How many images went from and to test, by the splits before and after."""
    pairs = Counter((before[source], after.get(source, "unused")) for source in before)
    return Counter({pair: count for pair, count in pairs.items() if pair[0] != pair[1] and "test" in pair})


asked = st.sampled_from(
    [SHARES, {"train": 8, "val": 4, "test": "rest"}, {"train": 0.6, "val": 0.2, "test": 0.2}, {**SHARES, "test": 4}]
)


@given(
    asked, st.lists(st.integers(0, 9), min_size=3, max_size=3), st.lists(st.integers(20, 60), min_size=3, max_size=3)
)
def test_test_images_stay_and_no_others_become_any(
    amounts: dict[str, Amount], seeds: list[int], sizes: list[int]
) -> None:
    """Whatever is asked for and drawn, and where a class comes later."""
    locked, before, images = LockTable(), dict[str, str](), []
    for seed, size, classes in zip(seeds, sorted(sizes), (CLASSES, CLASSES, (*CLASSES, "owl")), strict=True):
        images = some(size, classes)
        splits = assign_images(images, SplitPlan(classes, amounts, (), seed, locked))
        after = where(splits)
        assert len(after) == sum(map(len, splits.values()))
        assert not moved(before, after)
        for name in classes:
            counts = Counter(image.sample.class_name for image in splits["test"])
            assert counts[name] >= 4
        locked, before = locks(splits, locked), before | after


@given(asked, st.integers(0, 9), st.integers(16, 40))
def test_with_nothing_locked_the_order_is_by_seed_alone(amounts: dict[str, Amount], seed: int, size: int) -> None:
    other = LockTable(frozenset({"0" * DIGITS}), frozenset({"1" * DIGITS}))  # of other data sets
    images = some(size)
    assert assign_images(images, SplitPlan(CLASSES, amounts, (), seed)) == assign_images(
        images, SplitPlan(CLASSES, amounts, (), seed, other)
    )


def test_more_locked_than_asked_for_stay_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    locked = locks(assign_images(some(40), SplitPlan(CLASSES, {**SHARES, "test": 15}, (), 1)))
    splits = assign_images(some(40), SplitPlan(CLASSES, {"train": 0.7, "val": 0.1, "test": 0.2}, (), 2, locked))
    assert [len(images) for images in splits.values()] == [2 * 21, 2 * 4, 2 * 15]
    assert "  class cat: 15 test images instead of 8: those that are locked stay\n" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"found 25 usable images \(left out: 15 test images\), needed 30"):
        assign_images(some(40), SplitPlan(CLASSES, {"train": 30, "val": 0, "test": 10}, (), 1, locked))


def test_where_new_images_do_not_suffice_test_is_smaller(capsys: pytest.CaptureFixture[str]) -> None:
    locked = locks(assign_images(some(30), SplitPlan(CLASSES, {"train": 15, "val": 5, "test": 10}, (), 1)))
    splits = assign_images(some(32), SplitPlan(CLASSES, {"train": 12, "val": 5, "test": 15}, (), 1, locked))
    assert [len(images) for images in splits.values()] == [24, 10, 24]
    assert "  class cat: 12 test images instead of 15: the others were trained on\n" in capsys.readouterr().out
    trained = locks({"test": [], "train": some(30), "val": []})
    with pytest.raises(UserError, match=r"class 'cat': found no test image: according to the lock table, all 30 were"):
        assign_images(some(30), SplitPlan(CLASSES, SHARES, (), 1, trained))


def test_many_classes_are_said_in_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"c{number:02}" for number in range(30)]
    locked = locks(assign_images(some(20, names), SplitPlan(names, {**SHARES, "test": 8}, (), 1)))
    assign_images(some(20, names), SplitPlan(names, SHARES, (), 1, locked))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "  ... and 20 more classes"


def test_in_a_given_division_locked_images_are_left_out_where_they_do_not_belong() -> None:
    images = [known(name, number, "test" if number < 6 else "train") for name in CLASSES for number in range(20)]
    digits = {image.sample.source: image.pixels[:DIGITS] for image in images}
    locked = LockTable(
        frozenset(digits[f"cat/{n}.png"] for n in (0, 10)), frozenset(digits[f"cat/{n}.png"] for n in (1, 11))
    )
    amounts: dict[str, Amount] = {"train": "rest", "val": 2, "test": "rest"}
    for rule in ("none", {"regex": r"\d+"}):
        images_of = images if rule == "none" else [image for image in images if image.sample.class_name == "cat"]
        names = CLASSES if rule == "none" else CLASSES[:1]
        splits, left_out = assign(
            images_of, Grouping(rule, "keep", []), SplitPlan(names, amounts, {"train", "test"}, 1, locked), []
        )
        after = where(splits)
        assert after["cat/0.png"] == "test"
        assert after["cat/11.png"] in ("train", "val")
        assert {entry.source for entry in left_out} == {"cat/1.png", "cat/10.png"}
        assert {entry.kind for entry in left_out} == {"locked" if rule == "none" else "grouped"}


@given(st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_groups_with_a_locked_image_are_tested_with(seeds: list[int]) -> None:
    """Patients, and images of old and new ones."""
    amounts: dict[str, Amount] = {"train": 0.5, "val": 0.2, "test": 0.3}
    locked, before = LockTable(), dict[str, str]()
    for seed, patients in zip(seeds, (20, 41, 60), strict=True):
        images = [known(n, f"p{p}/{i}") for n in CLASSES for p in range(patients) for i in range(1 + patients // 20)]
        groups = name_groups(images, "folder")
        splits, left_out = assign_groups(images, groups, SplitPlan(CLASSES, amounts, (), seed, locked))
        after = where(splits)
        assert not left_out
        assert not moved(before, after)
        of = {image.sample.source: group for image, group in zip(images, groups, strict=True)}
        assert len({(of[source], split) for source, split in after.items()}) == len({of[source] for source in after})
        assert 0.1 < len(splits["test"]) / len(images) < 0.6
        locked, before = locks(splits, locked), before | after


def test_a_group_that_is_both_is_tested_with_what_was_not_trained_on() -> None:
    images = [known(name, f"p{p}/{i}") for name in CLASSES for p in range(12) for i in range(3)]
    digits = {image.sample.source: image.pixels[:DIGITS] for image in images}
    locked = LockTable(frozenset({digits["cat/p3/0.png"]}), frozenset({digits["cat/p3/1.png"], digits["dog/p3/1.png"]}))
    splits, left_out = assign_groups(images, name_groups(images, "folder"), SplitPlan(CLASSES, SHARES, (), 1, locked))
    after = where(splits)
    assert [after.get(f"{name}/p3/{n}.png") for name in CLASSES for n in range(3)] == ["test", None, "test"] * 2
    assert [(entry.source, entry.reason, entry.kind) for entry in left_out] == [
        (f"{name}/p3/1.png", "group p3 has test images", "grouped") for name in CLASSES
    ]


def test_of_near_duplicates_the_locked_test_image_is_kept() -> None:
    new, trained, tested = known("cat", 0), known("cat", 1), known("cat", 2)
    locked = LockTable(frozenset({tested.pixels[:DIGITS]}), frozenset({trained.pixels[:DIGITS]}))
    for images, kept in (([new, trained, tested], tested), ([new, trained], trained)):
        found, left_out = drop_duplicates(images, ["same"] * len(images), "near duplicate", locked)
        assert found == [kept]
        assert left_out[0].reason == f"near duplicate of {kept.sample.source}"


# The table.


def test_the_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows: LockRows = {"b" * 16: ("=1+1", "test"), "a" * 16: ('a, "b"\nc', "other"), "0123456789abcdef": ("é", "test")}
    write_rows(tmp_path / "tables" / "split.csv", rows)
    assert read_rows(tmp_path / "tables" / "split.csv") == rows
    lines = (tmp_path / "tables" / "split.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["pixels,class,split", "0123456789abcdef,é,test"]
    assert lines[-1] == f"{'b' * 16},'=1+1,test"
    assert read_rows(tmp_path / "none.csv") == {}


ROW = f"{'a' * 16},cat,test\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: expected the header pixels,class,split; received: nothing"),
        (b"pixels;class;split\n", "line 1: expected the header pixels,class,split; received: pixels;class;split"),
        (f"pixels,class,split\n<<<<<<< HEAD\n{ROW}".encode(), "line 2: expected 16 hexadecimal digits"),
        (f"pixels,class,split\n{ROW}1.23E+15,cat,test\n".encode(), "line 3: expected 16 hexadecimal digits"),
        (f"pixels,class,split\n{ROW}\n".encode(), "line 3: expected 16 hexadecimal digits, a class, and test or other"),
        (f"pixels,class,split\n{ROW[:-6]}\n".encode(), "line 2: expected 16 hexadecimal digits"),
        (f"pixels,class,split\n{ROW}{ROW.replace('test', 'train')}".encode(), "line 3: expected 16"),
        (f"pixels,class,split\n{ROW}{ROW.replace('test', 'other')}".encode(), "test in one line and other in another"),
        (b"pixels,class,split\n\xff\xfe", "expected a table of comma-separated values, UTF-8"),
        (b'pixels,class,split\n"aaa', "expected a table of comma-separated values, UTF-8"),
        (b"pixels,class,split\n" + b"a" * 200_000, "expected a table of comma-separated values, UTF-8"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "split.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"split.csv, line \d+: expected .*; received: .*git checkout") as error:
        read_lock_table(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_merged_or_saved_by_others_is_read(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_bytes(f"\ufeffpixels,class,split\n{ROW}{ROW}".replace("\n", "\r\n").encode())
    assert read_lock_table(tmp_path / "split.csv") == LockTable(frozenset({"a" * 16}))


# The stages.


@pytest.fixture
def workplace(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the amounts of the recipe for own photographs; ``lock`` takes its split as up to date."""
    (tmp_path / "params.yaml").write_bytes((project / "recipes" / "default.yaml").read_bytes())
    chosen = {"source": "data/own/set", "form": "photo", "polarity": "light_on_dark", **SHARES}
    set_params(tmp_path, {"split": chosen})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lock"])
    monkeypatch.setattr(lock, "find_changes", lambda: set[str]())
    (tmp_path / "data" / "tables").mkdir(parents=True)
    write_rows(tmp_path / "data" / "tables" / "split.csv", {})
    (tmp_path / "data" / "tables" / "labels.csv").write_text("what,ever\n")
    return tmp_path


def photograph(seed: int) -> Image.Image:
    """A picture that has no near duplicate in other seeds'."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((72, 72), Image.Resampling.BICUBIC)


def grow(folder: Path, count: int, classes: Iterable[str] = CLASSES) -> None:
    for place, name in enumerate(classes):
        (folder / "data/own/set" / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = folder / "data/own/set" / name / f"{number:03}.png"
            if not path.exists():
                photograph(10_000 * place + number).save(path)


def sources() -> dict[str, str]:
    return {source: name for name in SPLITS for source in SplitFile(Path(f"data/split/{name}.parquet")).sources()}


def summary() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("data/split/summary.json").read_text())
    return content


def test_a_set_that_grows_twice_keeps_its_test_images(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """20, 41 and 60 images a class, each time another seed, and a class that comes last."""
    before = dict[str, str]()
    steps = ((1, 20, CLASSES), (2, 41, CLASSES), (3, 60, (*CLASSES, "owl")))
    for seed, count, classes in steps:
        set_params(workplace, {"split": {"seed": seed}})
        grow(workplace, count, classes)
        split.main()
        after = sources()
        assert not moved(before, after)
        images = {name: list(after.values()).count(name) for name in SPLITS}
        share = int(0.2 * count)
        assert images["test"] == images["val"] == share * len(classes)
        assert summary()["locked"] == list(before.values()).count("test")
        lock.main()
        before = after
    said = capsys.readouterr().out
    assert "  locked 8 test images and 32 others of data/own/set; commit data/tables/split.csv\n" in said
    assert "  8 of the 16 test images are locked (see data/tables/split.csv)\n" in said
    assert "  locked 8 test images and 34 others of data/own/set (40 of its images were locked before)" in said
    lock.main()
    assert (
        "  nothing to add: 36 test images and 144 others of data/own/set are locked already\n"
        in capsys.readouterr().out
    )
    table = Path("data/tables/split.csv").read_text().splitlines()
    assert len(table) == 1 + 180
    assert table[1:] == sorted(table[1:])


def test_an_unused_image_may_become_a_test_image(workplace: Path) -> None:
    set_params(workplace, {"split": {"train": 5, "val": 2, "test": 3}})
    grow(workplace, 20)
    split.main()
    lock.main()
    before = sources()
    assert len(Path("data/tables/split.csv").read_text().splitlines()) == 1 + 20
    set_params(workplace, {"split": {"test": 13}})
    split.main()
    after = sources()
    assert not moved(before, after)
    assert list(after.values()).count("test") == 26


@pytest.mark.parametrize("near", ["drop", "group"])
def test_near_duplicates_of_locked_test_images_are_not_trained_on(workplace: Path, near: str) -> None:
    set_params(workplace, {"split": {"near_duplicates": near, "train": 0.6}})
    grow(workplace, 40)
    split.main()
    lock.main()
    before, changes = sources(), list[str]()
    for source, name in list(before.items())[::3]:
        path = workplace / "data/own/set" / source
        with Image.open(path) as image:  # its name comes first
            ImageOps.mirror(image).resize((60, 60)).save(path.with_name(f"+{path.stem}.webp"))
        changes += [f"{source.split('/')[0]}/+{path.stem}.webp"] if name == "test" else []
    assert len(changes) >= 3
    set_params(workplace, {"split": {"seed": 7}})
    split.main()
    after = sources()
    assert not moved(before, after)
    assert {after.get(source, "left out") for source in changes} == {"left out" if near == "drop" else "test"}


def test_lock_refuses_a_split_that_is_not_up_to_date(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    grow(workplace, 20)
    split.main()
    for changed, said in (
        ({"params.yaml"}, "(changed: params.yaml). Run `dvc repro split` first."),
        ({"data/tables"}, "data/tables has changed since"),
    ):
        monkeypatch.setattr(lock, "find_changes", lambda changed=changed: changed)
        assert said in refused(lock.main)
        assert read_rows(Path("data/tables/split.csv")) == {}


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """A repository, and what writes a test split of so many images into its dvc.lock and cache."""
    init_git(tmp_path)
    run("dvc", "init", "-q", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)

    def write(first: int, last: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = tmp_path / "new.parquet"
        pq.write_table(pa.table({"pixels": [f"{number:064}" for number in range(first, last)]}), file)
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        cached = tmp_path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        file.rename(cached)
        entries = "".join(
            f"    - path: data/split/{name}.parquet\n      hash: md5\n      md5: {value}\n      size: 1\n"
            for name, value in (("summary", "0" * 32), ("test", md5))
        )
        (tmp_path / "dvc.lock").write_text(
            f"schema: '2.0'\nstages:\n  fetch@a:\n    cmd: x\n  split:\n    cmd: python\n    outs:\n{entries}"
            "  finetune:\n    cmd: python\n    outs: []\n"
        )

    return write


def test_how_much_of_heads_test_split_is_left_is_said(committed: Callable[[int, int], None]) -> None:
    path, file = Path("data/split/test.parquet"), Path("dvc.lock")
    committed(0, 8)
    assert describe_overlap(path, file) is None, "no commit"
    commit(Path(), "A split")
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert describe_overlap(path, file) is None, "the same"
    committed(2, 12)
    assert describe_overlap(path, file) == (
        f"test split: 6 of its 10 images were in that of the last commit ({head}), which has 8: compare accuracies "
        "only on images that both have"
    )
    committed(20, 22)
    assert describe_overlap(path, file) == (
        f"test split: none of its images was in that of the last commit ({head}): do not compare accuracies"
    )
    for cached in Path(".dvc/cache/files/md5").rglob("*"):
        if cached.is_file():
            cached.unlink()
    assert str(describe_overlap(path, file)).endswith("they share: dvc fetch --all-branches data/split/test.parquet")
    file.write_text("<<<<<<< HEAD\n")
    assert describe_overlap(path, file) is None


@pytest.mark.slow
def test_the_whole_graph_on_data_that_grow(finished: Path, tmp_path: Path) -> None:
    import shutil

    here = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    assert "locked 50 test images and 50 others of data/own/digits; commit" in run(
        "python", "-m", "stages", "lock", cwd=here
    )
    again = run("python", "-m", "stages", "lock", cwd=here)
    assert "nothing to add: 50 test images" in again
    commit(here, "Lock")
    for folder in sorted((here / "data/fetch/paper_digits").iterdir()):
        for image in sorted(folder.iterdir())[12:18]:
            shutil.copy(image, here / "data/own/digits" / folder.name / image.name)
    set_params(here, {"split": {"test": 8, "about": {"source": "<b>drawn</b>"}}})
    run("dvc", "add", "-q", "data/own/digits", cwd=here)
    said = run("dvc", "repro", cwd=here)
    assert "50 of the 80 test images are locked (see data/tables/split.csv)" in said
    assert said.count("test split: 50 of its 80 images were in that of the last commit (") == 2
    assert "  on the 50 locked ones: head only " in said
    scores = json.loads((here / "data/evaluate/scores.json").read_text())
    assert scores["locked"]["test_images"] == 50
    page = (here / "data/report/report.html").read_text()
    assert "On the 50 locked test images" in page
    assert "source: &lt;b&gt;drawn&lt;/b&gt;" in page
    assert json.loads((here / "data/export/model.json").read_text())["data"] == {"source": "<b>drawn</b>"}
    set_params(here, {"split": {"about": {"license": "CC0"}}})
    again = run("dvc", "repro", cwd=here)
    assert [stage for stage in ("extract", "finetune", "evaluate") if f"Running stage '{stage}'" in again] == []
