"""Parts given as folders: found by name and structure together, used as given, and refused where they are unclear."""

import io
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.backbones.pretraining_data import read_pixels
from stages.base.errors import UserError
from stages.images.contract import Contract
from stages.pipeline.consistency import refuse_shared_images
from stages.sources.data_set import DataSet
from stages.sources.idx import write_idx
from stages.sources.parts import find_parts, recognize_part
from stages.sources.read import read_data_set
from stages.sources.tree import Folder, refer_to_file
from stages.split import main
from tests.helpers.copies import set_params, split_section

Make = Callable[..., Path]
Counts = dict[str | None, int]


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def files(*folders: str, count: int = 3) -> dict[str, bytes]:
    """Images in folders, each of its own; a name with a dot is a file by itself."""
    found = {}
    for place, name in enumerate(folders):
        for number in range(1 if "." in name else count):
            found[name if "." in name else f"{name}/{number}.png"] = picture(100 * place + number)
    return found


def both(part: str, classes: str = "cat dog") -> list[str]:
    return [f"{part}/{name}" for name in classes.split()]


def write(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def parts(found: DataSet) -> Counts:
    return dict(Counter(sample.part for sample in found.samples))


DIVIDED: dict[str, tuple[list[str], set[str]]] = {
    "train, val": ([*both("train"), *both("val")], {"train", "val"}),
    "filtered": ([*both("set/train"), *both("set/validation"), "set/vectorize.py"], {"train", "val"}),
    "capitals": ([*both("Train"), *both("TEST")], {"train", "test"}),
    "three": ([*both("training"), *both("valid"), *both("testing")], {"train", "val", "test"}),
    "prefixes": ([*both("flowers_train"), *both("flowers-dev"), *both("flowers test")], {"train", "val", "test"}),
    "suffixes": ([*both("train_set"), *both("TestSet2")], {"train", "test"}),
    "nested": ([*both("seg_train/seg_train"), *both("seg_test/seg_test"), "seg_pred/seg_pred"], {"train", "test"}),
    "papers": ([*both("train"), *both("test"), "README.md", "labels.csv", "docs/a.txt"], {"train", "test"}),
    "fewer classes": ([*both("train", "a b c d"), *both("val", "a b"), *both("test", "d")], {"train", "val", "test"}),
    "no labels": ([*both("train"), "test"], {"train"}),
    "no labels in a folder": ([*both("train"), "val/images", "test/test"], {"train"}),
    "sets": ([*both("training_set/training_set"), *both("test_set/test_set")], {"train", "test"}),
    "copied in itself": ([*both("train"), *both("val"), *both("set/train"), *both("set/val")], {"train", "val"}),
    "images in each class": ([*both("train", "cat/images dog/images"), "val/images"], {"train"}),
    "deeper classes": ([*both("train/x", "cat/in cat/out dog"), *both("val/x")], {"train", "val"}),
}


@pytest.mark.parametrize("form", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize("layout", DIVIDED)
def test_parts_are_found_by_their_names(tmp_path: Path, layout: str, form: str) -> None:
    names, expected = DIVIDED[layout]
    source = write(tmp_path / "folder", files(*names))
    if form != "folder":
        kind = {"tar.gz": "gztar"}.get(form, form)
        source = Path(shutil.make_archive(str(tmp_path / "packed"), kind, source))
    found = read_data_set(source)
    assert set(parts(found)) == expected
    assert found.classes == (["a", "b", "c", "d"] if layout == "fewer classes" else ["cat", "dog"])
    assert set(found.parts) == expected


CLASSES: dict[str, tuple[list[str], list[str]]] = {
    "vehicles": (["train", "bus", "car"], ["bus", "car", "train"]),
    "vehicles, of kinds": (["train/steam", "train/electric", "bus", "car"], ["bus", "car", "train"]),
    "laboratory": (["test tube", "train", "flask"], ["flask", "test tube", "train"]),
    "one word": (["steam_train", "diesel train"], ["diesel train", "steam_train"]),
    "no words": (["strain", "contest"], ["contest", "strain"]),
    "papers in each": (["a", "a/x/1.txt", "a/y/1.txt", "b", "b/x/2.txt", "b/y/2.txt"], ["a", "b"]),
    "a folder in each": (["a/images", "b/images"], ["a", "b"]),
    "folders in one": (["a/x", "a/y", "b"], ["a", "b"]),
    "part inside a class": (["a/train", "b"], ["a", "b"]),
    "one part around": (["train/cat", "train/dog"], ["cat", "dog"]),
}


@pytest.mark.parametrize("layout", CLASSES)
def test_classes_stay_classes(tmp_path: Path, layout: str) -> None:
    names, expected = CLASSES[layout]
    found = read_data_set(write(tmp_path, files(*names)))
    assert (found.classes, set(parts(found)), found.parts) == (expected, {None}, {})


UNCLEAR: dict[str, tuple[list[str], str]] = {
    "structure alone": ([*both("a"), *both("b")], "found a (holds cat, dog), b (holds cat, dog)."),
    "one name": ([*both("train"), *both("extra")], "found extra (holds cat, dog), train (holds cat, dog)."),
    "no train": ([*both("val"), *both("test")], "found test (holds cat, dog), val (holds cat, dog)."),
    "third": ([*both("train"), *both("test"), *both("new")], "found new (holds cat, dog), test"),
    "other classes": ([*both("train"), *both("test", "emu fox")], "test (holds emu, fox), train (holds cat, dog)."),
    "capitals": ([*both("train"), *both("test", "Cat Dog")], "test (holds Cat, Dog), train (holds cat, dog)."),
    "images alone": (["train", "test"], "found test (images alone), train (images alone)."),
    "domains": (["trainA", "trainB", "testA", "testB"], "found testA (images alone), testB (images alone), trainA"),
    "training twice": ([*both("train_1"), *both("train_2"), *both("test")], "train_1 (holds cat, dog), train_2"),
    "labels in test alone": (["train", *both("test")], "found test (holds cat, dog), train (images alone)."),
    "parts in classes": (["cat/train", "cat/test", "dog/train", "dog/test"], "found cat (holds test, train), dog"),
    "many": ([*both("train", "a b c d e f"), "test/z"], "found test (holds z), train (holds a, b, c, d, ...)."),
}


@pytest.mark.parametrize("layout", UNCLEAR)
def test_what_is_unclear_is_refused_with_the_way_to_say_it(tmp_path: Path, layout: str) -> None:
    names, message = UNCLEAR[layout]
    with pytest.raises(UserError) as refused:
        read_data_set(write(tmp_path, files(*names)))
    assert message in str(refused.value)
    assert "set split.parts: {train: FOLDER, val: FOLDER, test: FOLDER}" in str(refused.value)
    assert "{train: .}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_images_without_a_suffix_are_divided_all_the_same(tmp_path: Path) -> None:
    named = files(*both("train"), *both("test"))
    found = read_data_set(write(tmp_path, {name.removesuffix(".png"): data for name, data in named.items()}))
    assert (parts(found), found.classes) == ({"train": 6, "test": 6}, ["cat", "dog"])


def test_many_classes_with_folders_in_them_are_compared_quickly(tmp_path: Path) -> None:
    root = Folder()
    for number in range(3000):
        root.add([f"{number}", f"{number}.png"], refer_to_file(tmp_path))
    assert list(find_parts(root, "", "x")) == [None]


def test_published_arrays_have_parts_of_their_own(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(UserError, match=r"split.parts: .* already defines its parts. Expected auto"):
        read_data_set(tmp_path, {"train": "train"})


def test_named_folders_are_taken_whatever_they_are_called(tmp_path: Path) -> None:
    source = write(
        tmp_path / "x", files(*both("set/one"), *both("set/two/two"), *both("set/three"), "set/four", "a.png")
    )
    found = read_data_set(source, {"train": "set/one", "val": "set/three/", "test": "./set/two"})
    assert parts(found) == {"train": 6, "val": 6, "test": 6}
    assert found.parts == {"train": "set/one/", "val": "set/three/", "test": "set/two/two/"}
    assert {(entry.source, entry.kind) for entry in found.left_out} == {("a.png", "stray"), ("set/four/", "unused")}
    found = read_data_set(source, {"train": "."})
    assert found.classes == ["four", "one", "three", "two"]
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", source))
    assert parts(read_data_set(packed, {"train": "set/one", "test": "set/two"})) == {"train": 6, "test": 6}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"train": "one", "val": "tow"}, "split.parts.val: there is no folder tow in .*; it holds flat, one, two"),
        ({"train": "one/bird"}, "there is no folder one/bird in .*; one/ holds cat, dog"),
        ({"train": "one", "test": "flat"}, "split.parts.test: expected class folders in flat, found none"),
        ({"train": "one", "test": "one"}, "expected separate folders; those of train and test overlap"),
        ({"train": ".", "test": "one"}, "expected separate folders; those of train and test overlap"),
        ({"train": "../x/one"}, "there is no folder ../x/one"),
    ],
)
def test_named_folders_that_cannot_be_parts(tmp_path: Path, wanted: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_data_set(write(tmp_path / "x", files(*both("one"), *both("two"), "flat")), wanted)


def test_an_archive_for_each_part_is_a_part(tmp_path: Path) -> None:
    for part in ("train", "test"):
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as archive:
            for name, data in files(*both(part)).items():
                archive.writestr(name, data)
    found = read_data_set(tmp_path)
    assert (parts(found), found.classes) == ({"train": 6, "test": 6}, ["cat", "dog"])
    assert found.samples[0].source == "train/train/cat/0.png"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Train", "train"),
        ("TRAINING", "train"),
        ("asl_alphabet_train", "train"),
        ("test1", "test"),
        ("ValSplit", "val"),
        ("dev-set", "val"),
        ("trainval", None),
        ("train_val", None),
        ("constraint", None),
        ("device", None),
        ("", None),
    ],
)
def test_words_that_speak_of_parts(name: str, part: str | None) -> None:
    assert recognize_part(name) == part


# What split and pretrain make of them.


@pytest.fixture
def split_of(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """Split a data set of these folders with these changes; return what is printed."""

    def run(names: Iterable[str], count: int = 6, **changes: object) -> list[str]:
        shutil.copy(project / "recipes" / "default.yaml", tmp_path / "params.yaml")
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "data/own/set", files(*names, count=count))
        changed = {"source": "data/own/set", "train": "rest", "val": "rest", "test": "rest", **changes}
        set_params(tmp_path, {"split": changed})
        main()
        return capsys.readouterr().out.splitlines()

    return run


def test_given_parts_are_used_whole(split_of: Callable[..., list[str]]) -> None:
    lines = split_of([*both("Train"), *both("valid"), *both("test"), "test2"])
    assert lines == [
        "  data/own/set: 2 classes, 36 images: train 12, val 12, test 12; val and test as given",
        "  classes: cat 18, dog 18",
        "  train part: Train/",
        "  val part: valid/",
        "  test part: test/",
        "  left out: test2/ (6 images, but no class folders)",
    ]


def test_counts_choose_within_given_parts(split_of: Callable[..., list[str]]) -> None:
    lines = split_of([*both("train"), *both("val"), *both("test")], train=5, val=2, test=0.5)
    assert lines[0].endswith("train 10, val 4, test 6; val and test as given; 16 not used")


def test_a_missing_part_is_taken_from_train(split_of: Callable[..., list[str]]) -> None:
    assert split_of([*both("train"), *both("val")], train=3)[0].endswith("train 6, val 12, test 6; val as given")
    with pytest.raises(SystemExit):
        split_of([*both("train"), *both("val")])  # train and test cannot both take the rest of train


def test_many_classes_are_printed_shortened(split_of: Callable[..., list[str]]) -> None:
    lines = split_of([f"c{number}" for number in range(12)], train=1, val=1)
    assert lines[1].startswith("  classes: c0 6, c1 6, ")
    assert lines[1].endswith(", c9 6, ... and 2 more")


def test_parts_that_cannot_be_read_are_told_how(
    split_of: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for value in ("automatic", {"val": "a"}, {"train": "a", "dev": "b"}, ["train"], {"train": 1}):
        with pytest.raises(SystemExit):
            split_of(both("train"), parts=value)
        assert "split.parts: expected auto, or {train: FOLDER, val: FOLDER, test: FOLDER}" in capsys.readouterr().err


def test_pretrain_reads_the_same_parts(tmp_path: Path) -> None:
    contract = Contract(8, 3, "photo", "light_on_dark", "stretch")
    for names, learned, tested in (("train val test", "train", "test"), ("train val", "train", "val")):
        root = write(tmp_path / names, files(*(folder for name in names.split() for folder in both(name))))
        samples = read_data_set(root).samples
        images = read_pixels(root, contract, tmp_path / "pixels.npy")
        assert {samples[row].part for row in images.train} == {learned}
        assert {samples[row].part for row in images.test} == {tested}


def test_a_source_without_a_test_part_is_not_learned_and_split(tmp_path: Path) -> None:
    divided = write(tmp_path / "a", files(*both("train"), *both("test")))
    tables = tmp_path / "tables"
    refuse_shared_images(split_section(divided), divided, tables)
    with pytest.raises(UserError, match="contain the same images"):
        refuse_shared_images(split_section(divided, parts={"train": "test", "test": "train"}), divided, tables)
    other = write(tmp_path / "b", files(*both("train"), *both("val")))
    with pytest.raises(UserError, match="contain the same images"):
        refuse_shared_images(split_section(other), other, tables)


def test_pretrain_says_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "x", files(*both("train"), *both("test"), "unlabeled", "train/cover.png"))
    read_pixels(root, Contract(8, 3, "photo", "light_on_dark", "stretch"), tmp_path / "pixels.npy")
    assert capsys.readouterr().out.splitlines() == [
        f"  {root}: train part: train/",
        f"  {root}: test part: test/",
        "  left out: unlabeled/ (3 images, but no class folders)",
        "  left out: 1 in no class folder",
    ]
