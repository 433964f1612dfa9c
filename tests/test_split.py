"""split: which image goes where, what is left out, and what is said about it."""

import csv
import errno
import hashlib
import io
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.base.errors import UserError
from stages.base.files import escape, unescape
from stages.base.splits import SPLITS, Part
from stages.draw.results import read_table
from stages.images.split_file import SplitFile
from stages.sources.data_set import Reject, Sample
from stages.sources.idx import write_idx
from stages.sources.read import read_data_set
from stages.split import main
from stages.splitting.amounts import Amount, SplitPlan, check_amounts
from stages.splitting.examine import ExaminedImage, examine
from stages.splitting.stratified import assign_images, drop_duplicates, select_classes
from tests.conftest import Refusal
from tests.helpers.backwards import Backwards
from tests.helpers.copies import set_params
from tests.test_images import AWKWARD

Assignment = dict[str, list[ExaminedImage]]
UNCORRECTED = {"relabeled": 0, "dropped": 0, "confirmed": 0, "left_out": 0}
NOTHING_LOST = {"rejects": 0, "duplicates": 0, "locked": 0, "corrections": UNCORRECTED}


# The promises of the assignment, on images that are nothing but names.


def known(class_name: str, number: int, part: str | None = None, pixels: str | None = None) -> ExaminedImage:
    source = f"{class_name}/{number:04d}.png"
    sample = Sample(source, class_name, part, lambda: b"")  # type: ignore[arg-type]
    return ExaminedImage(sample, pixels or hashlib.sha256(source.encode()).hexdigest(), 1, 1)


def sources(images: Iterable[ExaminedImage]) -> list[str]:
    return [image.sample.source for image in images]


def of_class(splits: Assignment, name: str) -> dict[str, list[str]]:
    return {split: [s for s in sources(images) if s.startswith(f"{name}/")] for split, images in splits.items()}


classes_and_sizes = st.dictionaries(st.sampled_from("abcde"), st.integers(12, 40), min_size=2)
amount = st.one_of(st.integers(0, 3), st.floats(0.1, 0.3), st.just("rest"))
amounts = st.fixed_dictionaries({"train": amount, "val": amount, "test": amount}).filter(
    lambda asked: list(asked.values()).count("rest") <= 1 and asked["train"] != 0 and asked["test"] != 0
)


@given(classes_and_sizes, amounts, st.integers(0, 5), st.randoms())
def test_counts_are_as_asked_and_no_image_is_in_two_splits(
    sizes: dict[str, int], asked: dict[str, Amount], seed: int, shuffle: random.Random
) -> None:
    images = [known(name, number) for name, size in sizes.items() for number in range(size)]
    splits = assign_images(images, SplitPlan(list(sizes), asked, (), seed))
    assert list(splits) == list(SPLITS)
    assigned = sources([image for split in splits.values() for image in split])
    assert len(set(assigned)) == len(assigned)
    for name, size in sizes.items():
        counts = {split: len(members) for split, members in of_class(splits, name).items()}
        for split, amount in asked.items():
            if isinstance(amount, int):
                assert counts[split] == amount
            elif isinstance(amount, float):
                assert abs(counts[split] - amount * size) < 1
        if "rest" in asked.values():
            assert sum(counts.values()) == size
    # The order in which the file system lists images is nothing to go by.
    shuffle.shuffle(images)
    assert assign_images(images, SplitPlan(list(sizes), asked, (), seed)) == splits


@given(classes_and_sizes, amounts, st.integers(1, 10))
def test_more_images_in_one_class_leave_the_others_as_they_were(
    sizes: dict[str, int], asked: dict[str, Amount], more: int
) -> None:
    images = [known(name, number) for name, size in sizes.items() for number in range(size)]
    grown, *others = sizes
    before = assign_images(images, SplitPlan(list(sizes), asked, (), 1))
    after = assign_images(
        [*images, *(known(grown, 1000 + n) for n in range(more))], SplitPlan(list(sizes), asked, (), 1)
    )
    for name in others:
        assert of_class(before, name) == of_class(after, name)
    # In the class itself an image moves only because a boundary between splits did, by rounding once more.
    side = {source: split for split, members in of_class(before, grown).items() for source in members}
    moved = [s for split, members in of_class(after, grown).items() for s in members if side.get(s, split) != split]
    assert len(moved) <= 2 * more + 1


@given(st.integers(3, 60))
def test_shares_that_add_up_to_one_use_every_image(size: int) -> None:
    images = [known(name, number) for name in "ab" for number in range(size)]
    for asked in ({"train": 0.34, "val": 0.33, "test": 0.33}, {"train": 0.4, "val": 0.1, "test": 0.5}):
        assert sum(map(len, assign_images(images, SplitPlan("ab", asked, (), 0)).values())) == 2 * size


def test_a_share_is_exact_where_it_can_be() -> None:
    images = [known(name, number) for name in "ab" for number in range(100)]
    splits = assign_images(images, SplitPlan("ab", {"train": 0.29, "val": 0.29, "test": 0.07}, (), 0))
    assert [len(members) for members in splits.values()] == [58, 58, 14]


@given(classes_and_sizes, amounts, st.integers(0, 5), st.booleans())
def test_a_train_seed_draws_train_and_val_anew_and_no_test_image(
    sizes: dict[str, int], asked: dict[str, Amount], seed: int, divided: bool
) -> None:
    parts: tuple[Part, ...] = ("train", "test") if divided else ()
    plan = SplitPlan(list(sizes), {**asked, "test": "rest" if divided else asked["test"]}, parts, seed)
    images = [
        known(name, number, parts[number % 2] if parts else None)
        for name, size in sizes.items()
        for number in range(2 * size)
    ]
    before = assign_images(images, plan)
    assert assign_images(images, replace(plan, train_seed=seed)) == before
    after = assign_images(images, replace(plan, train_seed=100))
    assert after["test"] == before["test"]
    assert [len(members) for members in after.values()] == [len(members) for members in before.values()]
    members = [source for images in after.values() for source in sources(images)]
    assert len(set(members)) == len(members)


def test_unused_images_take_part_in_the_draw_of_a_train_seed() -> None:
    images = [known(name, number) for name in "ab" for number in range(100)]
    plan = SplitPlan("ab", {"train": 20, "val": 10, "test": 20}, (), 1)
    drawn = [set(sources(assign_images(images, replace(plan, train_seed=seed))["train"])) for seed in range(20)]
    assert len(set.union(*drawn)) > 2 * 70


def test_another_seed_draws_other_images_and_classes_are_mixed() -> None:
    images = [known(name, number) for name in "ab" for number in range(50)]
    one, two = (
        assign_images(images, SplitPlan("ab", {"train": 20, "val": 5, "test": "rest"}, (), seed))["train"]
        for seed in (1, 2)
    )
    assert set(sources(one)) != set(sources(two))
    labels = "".join(image.sample.class_name for image in one)
    assert "ab" in labels
    assert "ba" in labels


def test_a_published_division_is_kept() -> None:
    images = [known(name, n, "test" if n % 3 == 0 else "train") for name in "ab" for n in range(60)]
    splits = assign_images(images, SplitPlan("ab", {"train": "rest", "val": 0.1, "test": "rest"}, ("train", "test"), 1))
    assert {image.sample.part for image in splits["test"]} == {"test"}
    assert {image.sample.part for image in [*splits["train"], *splits["val"]]} == {"train"}
    assert {split: len(members) for split, members in splits.items()} == {"train": 72, "val": 8, "test": 40}


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6)), min_size=1, max_size=40),
    st.randoms(),
)
def test_of_identical_images_one_is_used_or_none(pictures: list[tuple[str, int]], shuffle: random.Random) -> None:
    images = [known(name, number, pixels=str(look)) for number, (name, look) in enumerate(pictures)]
    shuffle.shuffle(images)
    kept, left_out = drop_duplicates(images, [image.pixels for image in images])
    assert sorted(sources(kept) + [entry.source for entry in left_out]) == sorted(sources(images))
    assert len({image.pixels for image in kept}) == len(kept)
    for look in {image.pixels for image in images}:
        same = [image for image in images if image.pixels == look]
        if len({image.sample.class_name for image in same}) == 1:
            first = min(sources(same))
            assert first in sources(kept)
            reasons = {entry.reason for entry in left_out if entry.source in sources(same)}
            assert reasons <= {f"duplicate of {first}"}
        else:
            reasons = {entry.reason for entry in left_out if entry.source in sources(same)}
            assert reasons == {"also in class 'a'", "also in class 'b'"}


@pytest.mark.parametrize(
    ("asked", "given", "message"),
    [
        ({"train": "rest", "val": 1, "test": "rest"}, (), r"split.train and split.val and split.test: only one"),
        (
            {"train": "rest", "val": "rest", "test": 1},
            ("train", "test"),
            r"split.train and split.val: only one .* given train",
        ),
        ({"train": 0.5, "val": 0.3, "test": 0.3}, (), r"add up to at most 1; received train: 0.5, val: 0.3"),
        ({"train": 0, "val": 1, "test": 1}, (), r"split.train: expected at least one"),
        ({"train": 1, "val": 1, "test": 0}, (), r"split.test: expected at least one"),
    ],
)
def test_amounts_that_cannot_be(asked: dict[str, Amount], given: tuple[Part, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_amounts(asked, given)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"train": 5, "val": 5, "test": 5}, r"class 'b': found 8 usable images, needed 15 or more"),
        ({"train": 4, "val": 4, "test": "rest"}, r"class 'b': found 8 usable images, needed 9 or more"),
        ({"train": 0.1, "val": 0, "test": "rest"}, r"class 'b': found 8 usable images, needed 9 or more"),
        ({"train": "rest", "val": 0, "test": 8}, r"class 'b': found 8 usable images, needed 9 or more"),
    ],
)
def test_too_few_images_in_a_class(asked: dict[str, Amount], message: str) -> None:
    images = [known(name, number) for name, size in (("a", 30), ("b", 8)) for number in range(size)]
    with pytest.raises(UserError, match=message):
        assign_images(images, SplitPlan(["a", "b"], asked, (), 0))
    with pytest.raises(UserError, match="class 'c': found 0 usable images"):
        assign_images(images, SplitPlan(["a", "c"], {"train": 1, "val": 0, "test": 1}, (), 0))


def test_classes_are_taken_in_the_order_given() -> None:
    assert select_classes("all", ["0", "1", "10"]) == ["0", "1", "10"]
    assert select_classes(["zebra", "horse"], ["dog", "horse", "zebra"]) == ["zebra", "horse"]
    assert select_classes([7, 1], ["1", "7"]) == ["7", "1"]
    with pytest.raises(UserError, match=r"no class 'zebr' in the data set\. It has: 'horse', 'zebra'"):
        select_classes(["horse", "zebr"], ["horse", "zebra"])
    with pytest.raises(UserError, match="two or more classes, found 1"):
        select_classes("all", ["horse"])


@pytest.mark.parametrize(
    ("wanted", "existing", "message"),
    [
        ([1, 2], ["1", "001", "2"], "YAML reads 001 as the number 1: write '001', or '1' for the class of that name"),
        ([1, 2], ["001", "2"], "YAML reads 001 as the number 1: write '001'."),
        ([2, 31], ["2", "0x1F"], "YAML reads 0x1F as the number 31"),
        ([2, 8], ["2", "0o10"], "YAML reads 0o10 as the number 8"),
        ([2, 1000], ["2", "1_000"], "YAML reads 1_000 as the number 1000"),
        ([2, 5], ["2", "+5"], "YAML reads \\+5 as the number 5"),
        ([2, 3], ["2", "03x"], "no class '3'"),
        ([2, 10], ["2", "ten", "٣"], "no class '10'"),
    ],
)
def test_numbers_that_yaml_reads_alike_are_refused(wanted: list[str | int], existing: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        select_classes(wanted, existing)


def test_a_class_is_found_however_its_accents_are_typed() -> None:
    assert select_classes(["cafe\u0301", "tea"], ["caf\u00e9", "tea"]) == ["caf\u00e9", "tea"]
    assert select_classes([1, 10], ["1", "10", "1x"]) == ["1", "10"]


# What a data set folder holds.


def put(path: Path, seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Path:
    """Save an image of noise of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def test_class_folders_are_read_with_the_folders_below_them(tmp_path: Path) -> None:
    for number, name in enumerate(
        ["10/a.png", "2/b.JPG", "2/deep/er/c.png", "x y/ü.gif", "2/.hidden.png", ".git/d.png"]
    ):
        put(tmp_path / name, number)
    for junk in ("2/Thumbs.db", "2/.DS_Store", "README.txt", "__MACOSX/2/._b.JPG"):
        (tmp_path / junk).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / junk).write_text("junk")
    found = read_data_set(tmp_path).samples
    assert read_data_set(tmp_path).classes == ["2", "10", "x y"]
    assert [(s.source, s.class_name, s.part) for s in found] == [
        ("2/b.JPG", "2", None),
        ("2/deep/er/c.png", "2", None),
        ("10/a.png", "10", None),
        ("x y/ü.gif", "x y", None),
    ]
    assert found[0].data == (tmp_path / "2/b.JPG").read_bytes()


def test_train_and_test_folders_are_a_published_division(tmp_path: Path) -> None:
    for number, name in enumerate(["train/cat/1.png", "train/dog/2.png", "test/cat/3.png"]):
        put(tmp_path / name, number)
    assert read_data_set(tmp_path).classes == ["cat", "dog"]
    assert sorted((s.source, s.class_name, s.part) for s in read_data_set(tmp_path).samples) == [
        ("test/cat/3.png", "cat", "test"),
        ("train/cat/1.png", "cat", "train"),
        ("train/dog/2.png", "dog", "train"),
    ]
    put(tmp_path / "val/cat/4.png", 4)
    assert [s.part for s in read_data_set(tmp_path).samples] == ["train", "train", "val", "test"]


def test_idx_files_are_read_with_their_division(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    labels = np.array([2, 0, 1, 1, 0], dtype=np.uint8)
    for stem, suffix, part in (("train", ".gz", slice(0, 3)), ("t10k", "", slice(3, 5))):
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte{suffix}", pixels[part])
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte{suffix}", labels[part])
    found = read_data_set(tmp_path).samples
    assert [(s.source, s.class_name, s.part) for s in found] == [
        ("train/00000", "2", "train"),
        ("train/00001", "0", "train"),
        ("train/00002", "1", "train"),
        ("test/00000", "1", "test"),
        ("test/00001", "0", "test"),
    ]
    assert np.array_equal(Image.open(io.BytesIO(found[3].data)), pixels[3])
    assert read_data_set(tmp_path).classes == ["0", "1", "2"]
    (tmp_path / "classes.txt").write_text("T-shirt or top\nTrouser\nPullover\n")
    assert read_data_set(tmp_path).classes == ["T-shirt or top", "Trouser", "Pullover"]
    assert read_data_set(tmp_path).samples[0].class_name == "Pullover"
    (tmp_path / "classes.txt").write_text("T-shirt\nTrouser\n")
    with pytest.raises(UserError, match="expected 3 different class names"):
        read_data_set(tmp_path)


def test_what_is_no_data_set_is_told_what_one_looks_like(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match=r"folder of class folders .* or the four idx files"):
            read_data_set(folder)
    put(tmp_path / "cat/1.png", 1)
    put(tmp_path / "2.png", 2)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(UserError, match="labels-idx1-ubyte"):
        read_data_set(tmp_path)


# The stage, on folders of images.


Project = Callable[..., Path]


@pytest.fixture
def project_with(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Go to a new project whose split section has these changes; return its data set folder, data/own/set."""

    def make(**changes: object) -> Path:
        shutil.copy(project / "recipes" / "default.yaml", tmp_path / "params.yaml")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data" / "own" / "set").mkdir(parents=True, exist_ok=True)
        changed = {"source": "data/own/set", "form": "photo", "train": 2, "val": 1, "test": "rest", **changes}
        set_params(tmp_path, {"split": changed})
        return tmp_path / "data" / "own" / "set"

    return make


def fill(folder: Path, count: int = 6, classes: Iterable[str] = ("cat", "dog"), seed: int = 0) -> None:
    for name in classes:
        for number in range(count):
            seed += 1
            put(folder / name / f"{number}.png", seed)


def left_out() -> list[list[str]]:
    with Path("data/split/rejects.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["source", "class", "reason"]
    return rows


def summary() -> dict[str, object]:
    content: dict[str, object] = json.loads(Path("data/split/summary.json").read_text(encoding="utf-8"))
    return content


def by_class() -> list[list[str]]:
    """How many images of each class train, val and test hold."""
    with Path("data/split/classes.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["class", "train", "val", "test"]
    return rows


def read(split: str) -> SplitFile:
    return SplitFile(Path(f"data/split/{split}.parquet"))


def test_images_are_packed_with_all_that_is_known_of_them(
    project_with: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project_with(form="photo", polarity="dark_on_light", fit="pad", classes=["dog", "cat"])
    fill(folder, classes=("ant", "cat", "dog"))
    main()
    assert capsys.readouterr().out == (
        "  data/own/set: 2 classes, 12 images: train 4, val 2, test 6\n  classes: dog 6, cat 6\n"
    )
    assert sorted(path.name for path in Path("data/split").iterdir()) == [
        *(
            "classes.csv",
            "near_duplicates.parquet",
            "rejects.csv",
            "summary.json",
            "test.parquet",
            "train.parquet",
            "val.parquet",
        ),
    ]
    used: list[str] = []
    for split in SPLITS:
        packed = read(split)
        assert packed.classes == ["dog", "cat"]
        assert packed.reading == {"form": "photo", "polarity": "dark_on_light", "fit": "pad", "range": None}
        assert [packed.classes[label] for label in packed.labels()] == [s.split("/")[0] for s in packed.sources()]
        assert list(packed.images()) == [(folder / source).read_bytes() for source in packed.sources()]
        used += packed.sources()
    assert len(used) == len(set(used)) == 12
    assert summary() == {"images": {"train": 4, "val": 2, "test": 6}, "unused": 0, **NOTHING_LOST}
    assert by_class() == [["dog", "2", "1", "3"], ["cat", "2", "1", "3"]]


def test_classes_of_any_name_are_counted_one_by_one(project_with: Project) -> None:
    folder = project_with(train=2, val=0.2, test=3)
    fill(folder, 10, classes=("NA", "007", 'a, "b"'))
    fill(folder, 15, classes=("猫",), seed=100)
    main()
    counts = {"NA": ["2", "2", "3"], "007": ["2", "2", "3"], 'a, "b"': ["2", "2", "3"], "猫": ["2", "3", "3"]}
    assert {name: numbers for name, *numbers in by_class()} == counts
    assert [name for name, *_ in by_class()] == read("train").classes
    assert summary() == {"images": {"train": 8, "val": 9, "test": 12}, "unused": 16, **NOTHING_LOST}


def test_val_may_be_empty(project_with: Project) -> None:
    fill(project_with(val=0))
    main()
    assert len(read("val")) == 0
    assert read("val").classes == ["cat", "dog"]
    assert by_class() == [["cat", "2", "0", "4"], ["dog", "2", "0", "4"]]


def test_every_awkward_file_is_split_or_listed(
    project_with: Project, shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = project_with(train=3, val=2, max_rejects=0.5)
    fill(folder, classes=("plain",))
    shutil.copytree(shared / "datasets" / "awkward", folder / "awkward")
    main()
    output = capfd.readouterr()
    assert output.err == ""
    assert len(output.out.splitlines()) == 4  # the third says the range of 16-bit images
    refused = {f"awkward/{name}": reason for name, reason in AWKWARD.items() if isinstance(reason, str)}
    reasons = {source: reason for source, _, reason in left_out()}
    for source, expected in refused.items():
        assert expected in reasons.pop(source)
    # Several show the same picture, some to the last pixel. The rest is packed as it lay in its folder.
    assert reasons["awkward/hopper.tif"] == reasons["awkward/hopper.png"] == "duplicate of awkward/hopper.bmp"
    assert all(reason.startswith("duplicate of awkward/hopper") for reason in reasons.values())
    packed = {source for split in SPLITS for source in read(split).sources() if source.startswith("awkward")}
    assert packed == {f"awkward/{name}" for name in AWKWARD} - set(refused) - set(reasons)
    for split in SPLITS:
        assert list(read(split).images()) == [(folder / source).read_bytes() for source in read(split).sources()]
    assert (summary()["rejects"], summary()["duplicates"]) == (len(refused), len(reasons))


def test_too_many_rejects_are_an_error_that_shows_them(project_with: Project, refused: Refusal) -> None:
    folder = project_with(max_rejects=0.1)
    fill(folder, 20)
    for number in range(12):
        (folder / "dog" / f"bad{number:02d}.jpg").write_bytes(b"" if number else b"words")
    lines = refused(main).splitlines()
    assert lines[0] == "split: 12 of 52 images (23.1%) cannot be used; split.max_rejects allows 10.0%."
    assert lines[1].startswith("  dog/bad00.jpg: not an image")
    assert lines[2] == "  dog/bad01.jpg: empty file"
    assert (len(lines), lines[-2]) == (13, "  ... and 2 more")
    assert lines[-1].startswith("Replace or remove these files, or raise split.max_rejects. data/.rejects-split.csv ")
    assert len(Path("data/.rejects-split.csv").read_text().splitlines()) == 13
    assert not Path("data/split").exists()


def test_as_many_rejects_as_allowed_are_no_error(project_with: Project) -> None:
    folder = project_with(max_rejects=0.25)
    fill(folder)
    for number in range(4):
        (folder / "dog" / f"bad{number}.jpg").write_bytes(b"")
    main()
    assert summary()["rejects"] == 4


def test_a_file_that_may_not_be_read_is_a_reject(project_with: Project) -> None:
    folder = project_with(max_rejects=0.2)
    fill(folder)
    (folder / "cat" / "gone.png").symlink_to(folder / "nowhere.png")
    main()
    assert left_out() == [["cat/gone.png", "cat", "cannot be read: No such file or directory"]]


def test_in_the_ink_form_paper_without_handwriting_is_a_reject(project_with: Project) -> None:
    folder = project_with(form="ink", polarity="dark_on_light", train=1, max_rejects=0.2)
    for number, name in enumerate(("cat", "dog") * 4):
        page = Image.new("L", (60, 80), 200)
        page.paste(40, (20 + number, 20, 28 + number, 60))
        (folder / name).mkdir(exist_ok=True)
        page.save(folder / name / f"{number}.png")
    Image.new("L", (60, 80), 200).save(folder / "dog" / "blank.png")
    main()
    assert left_out() == [["dog/blank.png", "dog", "no handwriting found"]]


def test_pipes_and_links_in_a_circle_end_nothing(project_with: Project, refused: Refusal) -> None:
    folder = project_with(max_rejects=0.2)
    fill(folder)
    os.mkfifo(folder / "cat" / "pipe.png")
    (folder / "dog" / "itself.png").symlink_to("itself.png")
    main()
    assert left_out() == [
        ["cat/pipe.png", "cat", "cannot be read: not a regular file"],
        ["dog/itself.png", "dog", "cannot be read: Too many levels of symbolic links"],
    ]
    (folder / "dog" / "back").symlink_to("..")
    assert refused(main) == ("split: data/own/set/dog/back is a link to one of its parent folders. Remove the link.\n")


def test_names_that_a_spreadsheet_would_run_are_escaped(project_with: Project) -> None:
    folder = project_with()
    fill(folder, classes=("=1+1", "'-", "cat"))
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "@0.png")
    (folder / "cat" / "0.png").rename(folder / "cat" / "1.png")
    main()
    assert [name for name, *_ in by_class()] == ["''-", "'=1+1", "cat"]
    assert read("train").classes == ["'-", "=1+1", "cat"]
    assert read_table(Path("data/split/classes.csv"))["class"].to_list() == ["'-", "=1+1", "cat"]


@given(st.text())
def test_an_escaped_text_starts_no_formula_and_comes_back(text: str) -> None:
    assert not escape(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unescape(escape(text)) == text


def test_copies_are_used_once_and_contradictions_never(
    project_with: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project_with()
    fill(folder)
    put(folder / "cat" / "gray.png", 99, mode="L")
    for size in ((4, 6), (6, 4)):  # as many equal pixels, but not the same picture
        Image.new("RGB", size, "red").save(folder / "dog" / f"red{size[0]}.png")
    for name in ("cat/0 copy.png", "cat/zzz.png"):
        shutil.copy(folder / "cat" / "0.png", folder / name)
    # The same pixels in other files: another format, another encoding, gray in three channels.
    Image.open(folder / "dog" / "1.png").save(folder / "dog" / "1.bmp")
    Image.open(folder / "dog" / "2.png").save(folder / "dog" / "2b.png", compress_level=0)
    Image.open(folder / "cat" / "gray.png").convert("RGB").save(folder / "cat" / "gray3.png")
    shutil.copy(folder / "dog" / "3.png", folder / "cat" / "wrong.png")
    main()
    assert left_out() == [
        ["cat/0.png", "cat", "duplicate of cat/0 copy.png"],
        ["cat/gray3.png", "cat", "duplicate of cat/gray.png"],
        ["cat/wrong.png", "cat", "also in class 'dog'"],
        ["cat/zzz.png", "cat", "duplicate of cat/0 copy.png"],
        ["dog/1.png", "dog", "duplicate of dog/1.bmp"],
        ["dog/2b.png", "dog", "duplicate of dog/2.png"],
        ["dog/3.png", "dog", "also in class 'cat'"],
    ]
    assert (summary()["duplicates"], summary()["rejects"]) == (7, 0)
    assert "left out: 0 unreadable, 7 duplicates (see data/split/rejects.csv)" in capsys.readouterr().out
    used = [Image.open(io.BytesIO(data)).convert("RGB") for split in SPLITS for data in read(split).images()]
    assert set(Counter((image.size, image.tobytes()) for image in used).values()) == {1}


def test_a_missing_data_set_is_told_where_to_come_from(project_with: Project, refused: Refusal) -> None:
    def said(**changes: object) -> str:
        project_with(**changes)
        return refused(main)

    assert "Add 'mnist' to fetch.items in params.yaml, then `dvc repro`." in said(source="data/fetch/mnist")
    assert "data/own/NAME/CLASS/*.jpg" in said(source="data/own/digits")
    Path("data/own/digits.dvc").write_text("outs:\n")
    assert "`dvc pull data/own/digits`" in said(source="data/own/digits")
    fill(project_with(), 1)
    assert "split.train and split.val and split.test: only one of them may be 'rest'" in said(train="rest")


def test_mnist_is_split_as_published(shared: Path) -> None:
    mnist = read_data_set(shared / "mirror")
    every = [sample for sample in mnist.samples if int(sample.source[-5:]) < 1000]
    images = [result for result in examine(every) if isinstance(result, ExaminedImage)]
    assert len(images) == len(every) == 2000
    kept, duplicates = drop_duplicates(images, [image.pixels for image in images])
    splits = assign_images(kept, SplitPlan(mnist.classes, {"train": 5, "val": 5, "test": "rest"}, ("train", "test"), 1))
    assert len(splits["test"]) + sum(entry.source.startswith("test") for entry in duplicates) == 1000


@settings(max_examples=20)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=50))
def test_examined_images_come_in_the_order_given(looks: list[int]) -> None:
    def encoded(look: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("L", (look + 1, 1), look).save(buffer, "PNG")
        if look == 9:
            raise OSError(errno.EIO, "Input/output error")
        return buffer.getvalue() if look else b""

    assume(any(looks))
    given_samples = [
        Sample(f"a/{number}", "a", None, lambda look=look: encoded(look)) for number, look in enumerate(looks)
    ]
    results = list(examine(given_samples))
    assert [isinstance(result, Reject) for result in results] == [look in (0, 9) for look in looks]
    assert [result.width for result in results if isinstance(result, ExaminedImage)] == [
        look + 1 for look in looks if look not in (0, 9)
    ]
    assert list(examine(given_samples, near=False, cluster=Backwards())) == results


# What is not used is listed, also where the split fails.


def test_images_and_archives_beside_class_folders_are_listed(
    project_with: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project_with(max_rejects=0.2)
    fill(folder)
    put(folder / "cover.png", 50)
    (folder / "more.zip").write_bytes(b"PK")
    (folder / "notes.txt").write_text("words")
    main()
    assert left_out() == [
        ["cover.png", "", "outside the class folders"],
        ["more.zip", "", "an archive next to the class folders: unpack it"],
    ]
    said = capsys.readouterr().out
    assert "left out: more.zip (an archive next to the class folders: unpack it)\n" in said
    assert "left out: 0 unreadable, 1 in no class folder, 0 duplicates (see data/split/rejects.csv)" in said


@pytest.mark.parametrize("part", ["train", "test"])
def test_images_beside_the_class_folders_of_a_part_are_listed(project_with: Project, part: str) -> None:
    folder = project_with(train="rest", max_rejects=0.1)
    for seed, name in enumerate(("train", "test")):
        fill(folder / name / name, seed=100 * seed)
    put(folder / part / part / "stray.png", 999)
    put(folder / part / "higher.jpg", 998)
    main()
    assert [source for source, *_ in left_out()] == [f"{part}/higher.jpg", f"{part}/{part}/stray.png"]
    assert summary()["rejects"] == 2


def test_images_in_no_class_folder_count_as_rejects(project_with: Project, refused: Refusal) -> None:
    folder = project_with()
    fill(folder)
    for number in range(3):
        put(folder / f"{number}.png", 50 + number)
    message = refused(main)
    assert message.startswith("split: 3 of 15 images (20.0%) cannot be used; split.max_rejects allows 5.0%.\n  0.png: ")
    assert Path("data/.rejects-split.csv").read_text().count("outside the class folders") == 3
    set_params(Path(), {"split": {"max_rejects": 0.2}})
    main()
    assert not Path("data/.rejects-split.csv").exists()


def test_files_that_are_no_images_use_up_no_rejects(
    project_with: Project, capsys: pytest.CaptureFixture[str], refused: Refusal
) -> None:
    folder = project_with(max_rejects=0)
    fill(folder)
    (folder / "cat" / "labels.txt").write_text("1\n2\n")
    (folder / "dog" / "boxes.json").write_text("{}")
    (folder / "dog" / "tmp").write_bytes(b"")
    main()
    assert [(source, reason[:12]) for source, _, reason in left_out()] == [
        ("cat/labels.txt", "not an image"),
        ("dog/boxes.json", "not an image"),
        ("dog/tmp", "empty file"),
    ]
    assert "left out: 0 unreadable, 3 not images, 0 duplicates" in capsys.readouterr().out
    (folder / "dog" / "words.jpg").write_text("no image, but named like one")
    assert "1 of 13 images" in refused(main)


def test_too_few_images_say_what_became_of_the_others(project_with: Project, refused: Refusal) -> None:
    folder = project_with(train=5, val=5, max_rejects=0.2)
    fill(folder, 12)
    for number in range(4):
        shutil.copy(folder / "dog" / "0.png", folder / "dog" / f"{number + 1}.png")
    (folder / "dog" / "11.png").write_bytes(b"")
    message = refused(main)
    assert "class 'dog': found 7 usable images (left out: 4 exact duplicates, 1 unreadable), needed 11" in message
    assert message.endswith("data/.rejects-split.csv lists all that was left out, and why.\n")
    assert len(Path("data/.rejects-split.csv").read_text().splitlines()) == 6


def test_planted_near_duplicates_are_grouped_or_dropped(
    project_with: Project, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project_with(train=0.5, val=0.2, test="rest", near_duplicates="group")
    originals = [
        path
        for name in ("horse", "zebra")
        for path in sorted((shared / "datasets/horses_zebras" / name).iterdir())[:20]
    ]
    for path in originals:
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        with Image.open(path) as image:
            image.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(target.with_suffix(".webp"))
    with Image.open(originals[0]) as image:  # across classes
        image.convert("RGB").resize((150, 150)).save(folder / "zebra" / "a horse.png")
    main()
    assert "near duplicates: 42 pairs, 2 of them in two classes" in capsys.readouterr().out
    where = {source: split for split in SPLITS for source in read(split).sources()}
    assert len(where) == 81
    for path in originals:
        source = f"{path.parent.name}/{path.stem}"
        assert where[f"{source}{path.suffix}"] == where[f"{source}.webp"]
    assert where["zebra/a horse.png"] == where[f"horse/{originals[0].name}"]
    pairs = pd.read_parquet("data/split/near_duplicates.parquet")
    assert len(pairs) == 42
    assert pairs["picture"].notna().sum() == 24

    set_params(folder.parents[2], {"split": {"near_duplicates": "drop"}})
    main()
    reasons = [reason for *_, reason in left_out()]
    assert sum(reason.startswith("near duplicate of ") for reason in reasons) == 39
    assert sum(reason.startswith("also in class ") for reason in reasons) == 3
    assert sum(len(read(split)) for split in SPLITS) == 39


def test_folders_below_a_class_are_groups(project_with: Project) -> None:
    folder = project_with(train=0.4, val=0.2, test="rest", group="folder", parts={"train": "."})
    for patient in range(12):
        fill(folder, 3, classes=(f"cat/p{patient}", f"dog/p{patient}"), seed=100 * patient)
    main()
    where = [{source.split("/")[1] for source in read(split).sources()} for split in SPLITS]
    assert sum(map(len, where)) == 12
    assert sum(len(read(split)) for split in SPLITS) == 72
    train = read("train")
    numbers, patients = train.groups(), [source.split("/")[1] for source in train.sources()]
    assert len(set(zip(numbers, patients, strict=True))) == len(set(numbers)) == len(set(patients)), "both classes"
    set_params(folder.parents[2], {"split": {"group": "none"}})
    main()
    assert list(read("train").groups()) == list(range(len(read("train"))))
    assert "group" not in pd.read_parquet("data/split/train.parquet").columns


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("[true, false]", "YAML reads one as the truth value true: put it in quotes, as in 'true'"),
        ("[a, False]", "YAML reads one as the truth value false: put it in quotes, as in 'false'"),
        ("[null, a]", "YAML reads one as the value null: put it in quotes, as in 'null'"),
        ("[a, ~]", "YAML reads one as the value null"),
        ("[2024-01-01, b]", "YAML reads one as the date 2024-01-01: put it in quotes, as in '2024-01-01'"),
        ("[2024-01-01 10:00:00, b]", "YAML reads one as the time 2024-01-01 10:00:00"),
        ("[1.0, b]", "YAML reads one as the number 1.0: put it in quotes, as in '1e3'"),
        ("[1e3, b]", "YAML reads one as the number 1000.0: put it in quotes"),
        ("[[a], b]", "expected 'all' or a list of two or more different classes"),
        ("[a, a]", "expected 'all' or a list of two or more different classes"),
    ],
)
def test_names_that_yaml_reads_as_something_else_want_quotes(
    project_with: Project, refused: Refusal, listed: str, message: str
) -> None:
    project_with()
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("classes: all", f"classes: {listed}"))
    said = refused(main)
    assert said.startswith("split: params.yaml: split.classes: expected ")
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("names", ["utf-9", "", "rot13", "base64", "utf-16", "hex", 437, None])
def test_an_encoding_that_python_lacks_is_refused(project_with: Project, refused: Refusal, names: object) -> None:
    project_with(names=names)
    assert "split.names: expected an encoding that Python knows, such as utf-8" in refused(main)


def test_classes_that_look_alike_are_said_to_be_one(project_with: Project, capsys: pytest.CaptureFixture[str]) -> None:
    fill(project_with(), classes=("caf\u00e9", "cafe\u0301", "tea"))
    main()
    said = capsys.readouterr().out
    assert "classes: caf\u00e9 12, tea 6\n" in said
    assert "class caf\u00e9: folders whose names differ only" in said


@pytest.mark.parametrize(
    "name",
    ["@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX", ".ipynb_checkpoints", "LOST.DIR", "@Recycle"],
)
def test_what_systems_leave_behind_is_no_data(tmp_path: Path, name: str) -> None:
    fill(tmp_path, 1)
    put(tmp_path / name / "cat" / "0.png", 9)
    put(tmp_path / "cat" / name / "0.png", 9)
    for file in ("Icon\r", "ehthumbs.db", "Desktop.ini", "Thumbs.db"):
        (tmp_path / "dog" / file).write_text("junk")
    shutil.make_archive(str(tmp_path.parent / "packed"), "zip", tmp_path)
    for source in (tmp_path, tmp_path.parent / "packed.zip"):
        found = read_data_set(source)
        assert (found.classes, found.left_out) == (["cat", "dog"], [])
        assert [sample.source for sample in found.samples] == ["cat/0.png", "dog/0.png"]
