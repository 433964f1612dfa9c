"""Groups and near duplicates: what belongs together is found, and never lies in two splits."""

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from stages.base.errors import UserError
from stages.base.splits import SPLITS
from stages.images.decode import decode
from stages.sources.data_set import Sample
from stages.sources.read import read_data_set
from stages.splitting.amounts import Amount, SplitPlan
from stages.splitting.examine import ExaminedImage, hash_picture
from stages.splitting.groups import assign_groups, join_groups, name_groups
from stages.splitting.near_duplicates import LIMIT, find_near_duplicates

SHARES: dict[str, Amount] = {"train": 0.5, "val": 0.2, "test": "rest"}


def known(source: str, class_name: str | None = None, part: str | None = None) -> ExaminedImage:
    sample = Sample(source, class_name or source.split("/")[0], part, lambda: b"")  # type: ignore[arg-type]
    return ExaminedImage(sample, hashlib.sha256(source.encode()).hexdigest(), 1, 1)


def patients(count: int, each: int = 3) -> list[ExaminedImage]:
    return [
        known(f"{name}/p{n}/{image}.png") for name in ("ill", "well") for n in range(count) for image in range(each)
    ]


def split_of(splits: dict[str, list[ExaminedImage]]) -> dict[str, str]:
    return {image.sample.source: split for split, images in splits.items() for image in images}


@given(st.integers(12, 40), st.integers(0, 50))
def test_no_group_is_in_two_splits_and_new_images_move_none(count: int, seed: int) -> None:
    images = patients(count)
    groups = name_groups(images, "folder")
    assert set(groups) == {f"p{n}" for n in range(count)}, "a patient of two classes is one"
    splits, left_out = assign_groups(images, groups, SplitPlan(["ill", "well"], SHARES, [], seed))
    where = split_of(splits)
    assert len(where) == len(images)
    assert not left_out
    assert len({(group, where[image.sample.source]) for image, group in zip(images, groups, strict=True)}) == count
    more = [*images, *(known(f"ill/new{n}/0.png") for n in range(9)), known("well/p0/another.png")]
    again, _ = assign_groups(more, name_groups(more, "folder"), SplitPlan(["ill", "well"], SHARES, [], seed))
    assert {source: split_of(again)[source] for source in where} == where
    assert split_of(again)["well/p0/another.png"] == where["well/p0/0.png"]


def test_a_train_seed_moves_groups_between_train_and_val_alone() -> None:
    images = patients(400)
    groups = name_groups(images, "folder")
    plan = SplitPlan(["ill", "well"], {**SHARES, "train": 0.4, "test": 0.3}, [], 1)
    before, after = (assign_groups(images, groups, replace(plan, train_seed=seed))[0] for seed in (None, 2))
    assert after["test"] == before["test"]
    assert [len(after[split]) / len(images) for split in SPLITS] == pytest.approx([0.4, 0.2, 0.3], abs=0.05)
    kept = sum(image in before["train"] for image in after["train"]) / len(after["train"])
    assert kept == pytest.approx(0.4 / 0.7, abs=0.1), "as many as chance would keep"


@pytest.mark.parametrize(
    ("amounts", "expected"), [(SHARES, (0.5, 0.2, 0.3)), ({**SHARES, "train": 300}, (0.1, 0.2, 0.7))]
)
def test_shares_and_counts_are_near_what_was_asked(amounts: dict[str, Amount], expected: tuple[float, ...]) -> None:
    images = patients(1000)
    splits, _ = assign_groups(images, name_groups(images, "folder"), SplitPlan(["ill", "well"], amounts, [], 1))
    found = [len(splits[split]) / len(images) for split in ("train", "val", "test")]
    assert found == pytest.approx(expected, abs=0.04)


def test_a_regex_names_groups_by_its_bracket_or_as_a_whole() -> None:
    images = [known("cat/burst7_001.jpg"), known("dog/burst12_4.jpg")]
    assert name_groups(images, {"regex": r"burst(\d+)_"}) == ["7", "12"]
    assert name_groups(images, {"regex": r"burst\d+"}) == ["burst7", "burst12"]
    with pytest.raises(UserError, match=r"split.group.regex: \^x is not found in cat/burst7_001.jpg"):
        name_groups(images, {"regex": "^x"})


def test_without_folders_below_its_class_an_image_is_a_group() -> None:
    images = [
        known("cat/1.jpg"),
        known("cat/a/1.jpg"),
        known("train/cat/a/b/1.jpg", "cat"),
        known("train/00012", "cat"),
    ]
    assert name_groups(images, "folder") == ["cat/1.jpg", "a", "a/b", "train/00012"]
    assert name_groups(images, "none") == [image.sample.source for image in images]


def test_pairs_join_whole_groups() -> None:
    assert join_groups(["d", "b", "c", "a", "d"], [(0, 1), (2, 3), (1, 2)]) == ["a"] * 5
    assert join_groups(["a", "b", "c"], []) == ["a", "b", "c"]


def test_a_published_test_side_keeps_its_groups_to_itself() -> None:
    train = [known(f"train/{name}/p{n}/{n}.png", name, "train") for name in ("ill", "well") for n in range(20)]
    test = [known(f"test/{name}/p{n}/x.png", name, "test") for name in ("ill", "well") for n in range(15, 25)]
    images = [*train, *test]
    amounts: dict[str, Amount] = {"train": 0.7, "val": "rest", "test": "rest"}
    splits, left_out = assign_groups(
        images, name_groups(images, "folder"), SplitPlan(["ill", "well"], amounts, ["train", "test"], 1)
    )
    assert len(splits["test"]) == len(test)
    assert len(left_out) == 10
    assert left_out[0].reason == "group p15 has test images"
    of = {split: {image.sample.source.split("/")[2] for image in members} for split, members in splits.items()}
    assert not of["test"] & (of["train"] | of["val"])
    assert not of["train"] & of["val"]


def test_too_few_groups_are_said() -> None:
    images = patients(1)
    with pytest.raises(UserError, match=r"found no group for (train|test) among its images\. Expected several groups"):
        assign_groups(images, name_groups(images, "folder"), SplitPlan(["ill", "well"], SHARES, [], 1))


def recompress(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    return decode(file.getvalue())


CHANGES: list[Callable[[Image.Image], Image.Image]] = [
    recompress,
    ImageOps.mirror,
    lambda image: image.resize((image.width * 2 // 3, image.height * 2 // 3)),
    lambda image: recompress(ImageOps.mirror(image).resize((image.width // 2, image.height // 2))),
]


def photographs(shared: Path, name: str, count: int) -> Iterable[Image.Image]:
    samples = read_data_set(shared / "datasets" / name).samples
    return [decode(sample.data).convert("RGB") for sample in samples[:: len(samples) // count][:count]]


def test_planted_near_duplicates_are_found_and_nothing_else(shared: Path) -> None:
    pictures = list(photographs(shared, "horses_zebras", 40))
    planted = [change(picture) for picture in pictures for change in CHANGES]
    pairs = find_near_duplicates([hash_picture(picture) for picture in [*pictures, *planted]])
    kin = {(n, len(pictures) + n * len(CHANGES) + k) for n in range(len(pictures)) for k in range(len(CHANGES))}
    assert kin <= set(pairs)
    family = [*range(len(pictures)), *(n for n in range(len(pictures)) for _ in CHANGES)]
    assert all(family[first] == family[second] for first, second in pairs)


def test_pairs_are_those_of_a_search_through_all() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, (300, 2), dtype=np.uint64)
    for place in range(150):  # near ones, by 0 to 7 bits, of the picture or of its mirror image
        flips = rng.choice(64, rng.integers(0, 8), replace=False)
        hashes[place, 0] = hashes[299 - place, place % 2] ^ np.bitwise_or.reduce(
            np.uint64(1) << flips.astype(np.uint64)
        )
    hashes[:40] = 0  # many alike
    expected = [
        (first, second)
        for first in range(300)
        for second in range(first + 1, 300)
        if min(
            int(hashes[first, 0] ^ hashes[second, 0]).bit_count(),
            int(hashes[first, 0] ^ hashes[second, 1]).bit_count(),
            int(hashes[first, 1] ^ hashes[second, 0]).bit_count(),
        )
        <= LIMIT
    ]
    assert find_near_duplicates([(int(one), int(other)) for one, other in hashes]) == expected
