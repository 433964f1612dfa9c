"""labels: planted mistakes come first, and what somebody has decided does not come back."""

import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from stages.images.contract import Contract
from stages.images.split_file import SplitFile
from stages.measure.label_issues import find_doubts, find_label_issues
from stages.split import main as split
from stages.tools import labels
from stages.training.logistic import predict_held_out
from stages.transfer.activations import Description, write_description
from stages.transfer.freeze import Depth
from tests.conftest import PROJECT, Refusal
from tests.helpers.copies import set_params

TABLE = Path("data/tables/corrections.csv")
SPLITS = ("train", "val", "test")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with 30 cats and 30 dogs; in the names of four files is another class than that of their folder."""
    shutil.copy(PROJECT / "recipes" / "default.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["labels"])
    chosen = {"source": "data/own/set", "form": "photo", "train": "rest", "val": 5, "test": 5}
    set_params(tmp_path, {"split": chosen})
    for place, name in enumerate(("cat", "dog")):
        for number in range(30):
            photograph(100 * place + number, Path("data/own/set", name, f"{name}, {number}.jpg"))
    for number in (1, 2):
        Path(f"data/own/set/cat/cat, {number}.jpg").rename(f"data/own/set/dog/cat, {number}.jpg")
        Path(f"data/own/set/dog/dog, {number}.jpg").rename(f"data/own/set/cat/dog, {number}.jpg")
    return tmp_path


def photograph(seed: int, path: Path) -> None:
    """Save a picture that has no near duplicate in other seeds'."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((72, 72), Image.Resampling.BICUBIC).save(path, quality=95)


def extract(views: int = 1) -> None:
    """Split, and write what extract would: features that tell what the names of the files say, in so many views."""
    split()
    folder = Path("data/extract")
    folder.mkdir(exist_ok=True)
    for name in SPLITS:
        file = SplitFile(Path(f"data/split/{name}.parquet"))
        rng = np.random.default_rng(SPLITS.index(name))
        features = rng.normal(size=(len(file), 16)).astype(np.float32) + 4
        features[:, 0] += [6 * ("cat," in source) - 6 * ("dog," in source) for source in file.sources()]
        features[["foreign" in source for source in file.sources()]] *= rng.choice([-1, 1], 16)
        views = 1 if name != "train" else views
        several = np.repeat(features, views, axis=0)
        several[np.arange(len(several)) % views > 0] = np.nan  # other views are not to be read
        np.save(folder / f"{name}_features.npy", several)
        np.save(folder / f"{name}_labels.npy", np.repeat(file.labels(), views))
    Path("data/extract_test").mkdir(exist_ok=True)
    (folder / "test_features.npy").replace("data/extract_test/features.npy")
    contract = asdict(Contract(72, 3, **file.reading))
    depth = Depth(frozen=3, layer=None)
    write_description(folder, Description([depth], 3, "average", file.classes, contract, fresh=False))


def said(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[list[str], str]:
    """Run the command; return the images of its table, and all that it printed."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["labels", *options])
        labels.main()
    text = capsys.readouterr().out
    return re.findall(r"^((?:cat|dog)/.*?\.jpg)  ", text, re.M), text


def places(*names: str) -> set[str]:
    """Return the paths of the images of some splits."""
    return {source for name in names for source in SplitFile(Path(f"data/split/{name}.parquet")).sources()}


def test_mislabeled_images_come_first_and_a_page_shows_their_rows(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extract(views=3)
    wrong = {"cat/dog, 1.jpg", "cat/dog, 2.jpg", "dog/cat, 1.jpg", "dog/cat, 2.jpg"}
    images, text = said(capsys)
    planted = wrong & places("train", "val")
    assert set(images[: len(planted)]) == planted
    assert re.search(r"^  [1-4] of 50 labels are probably wrong \(0 because of a near duplicate\); ", text, re.M)
    assert "images: train 40, val 10; test images are not looked at (--test)" in text
    assert not set(images) & places("test")
    page = Path("data/labels/labels.html").read_text(encoding="utf-8")
    for image in planted:
        label, suggested = image[:3], image[4:7]
        assert f"{label} → {suggested}?" in page
        assert re.search(rf"&quot;{image}&quot;,{suggested},[0-9a-f]{{16}}</code>", page)
    assert page.count("data:image/jpeg") == len(images)
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page), "the page needs no other file"
    images, text = said(capsys, "--test", "--top", "2")
    assert "test images included: whoever corrects test labels after seeing a model must check all test images" in text
    assert " of 60 labels are probably wrong" in text
    assert len(images) <= 4, "two labels and two outliers"


def test_a_round_from_the_proposals_to_the_corrections(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract()
    images, text = said(capsys, "--write")
    assert (
        f"  added {len(images)} rows without a label to {TABLE}: fill in the label of each, or delete the row" in text
    )
    assert f"  set split.corrections: {TABLE} in params.yaml, so that split reads it" in text
    before = {name: Path(f"data/split/{name}.parquet").read_bytes() for name in SPLITS}
    set_params(here, {"split": {"corrections": str(TABLE)}})
    split()
    assert before == {name: Path(f"data/split/{name}.parquet").read_bytes() for name in SPLITS}, "nobody decided"
    again, text = said(capsys, "--write")
    assert again == images
    assert "  added 0 rows without a label" in text
    lines = TABLE.read_text().splitlines()
    assert lines[0] == "image,label,pixels,note"
    assert re.fullmatch(
        r'"(cat|dog)/(cat|dog), \d\.jpg",,[0-9a-f]{16},"(cat|dog), \2\? .* %: probably wrong: .*"', lines[1]
    )
    TABLE.write_text(f'image,label\n"{images[0]}",{images[0][4:7]}\n"{images[1]}",{images[1][:3]}\n')
    extract()
    left, text = said(capsys)
    assert not {images[0], images[1]} & set(left), "one was corrected, one confirmed"
    assert "  2 images are not shown, because the table of corrections has decided on them" in text


def test_near_duplicates_with_different_labels_and_outliers_are_shown(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # reasons are shortened to fit
    set_params(here, {"split": {"val": 0, "test": 1}})
    extract()
    one = min(source for source in places("train") if source.startswith("dog/dog"))
    with Image.open(Path("data/own/set") / one) as picture:
        ImageOps.mirror(picture).resize((60, 60)).save("data/own/set/cat/dog, copy.jpg", quality=60)
    photograph(999, Path("data/own/set/cat/foreign.jpg"))
    extract()
    if {"cat/dog, copy.jpg", one, "cat/foreign.jpg"} & places("test"):
        pytest.fail("choose another seed")
    _, text = said(capsys)
    row = next(line for line in text.splitlines() if line.startswith("cat/dog, copy.jpg"))
    assert re.search(rf"cat +dog +[\d.]+ %  probably wrong: near duplicate of {one} \(dog\)$", row)
    assert "(1 because of a near duplicate)" in text
    assert re.search(r"^cat/foreign.jpg +cat +- +[\d.]+ x  far from all others$", text, re.M)
    page = Path("data/labels/labels.html").read_text(encoding="utf-8")
    assert page.count('alt="the near duplicate"') == 1
    assert re.search(r">cat/foreign.jpg,drop,[0-9a-f]{16}</code>", page)


def test_features_of_other_images_are_refused(here: Path, refused: Refusal) -> None:
    extract()
    set_params(here, {"split": {"seed": 2}})
    split()
    assert (
        "data/extract holds the features of other images than those in data/split. Run `dvc repro extract`."
        in refused(labels.main)
    )


def test_near_duplicates_do_not_vouch_for_each_other() -> None:
    """A copy of a mislabeled image would confirm its label, if it were in another fold."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 30)
    rows = rng.normal(size=(60, 40))
    rows[:, 0] += 6 * truth
    given, groups = truth.copy(), np.arange(60)
    given[[0, 1]], groups[1], rows[1] = 1, 0, rows[0]
    found = np.full((60, 2), np.nan)
    for held_out, probabilities in predict_held_out(rows.copy(), given, groups, seed=0):
        found[held_out] = probabilities
    assert set(find_label_issues(given, found)) == {0, 1}


def test_what_nobody_predicted_is_not_doubted_but_its_twin_may_be() -> None:
    given = np.array([0, 0, 0, 1, 1, 1, 2])
    probabilities = np.eye(3)[given] * 0.8 + 0.1
    probabilities[6] = np.nan  # the only image of its class
    nobody = np.zeros(7, bool)
    assert find_doubts(given, probabilities, [], nobody) == []
    [doubt] = find_doubts(given, probabilities, [(0, 6), (1, 2)], nobody)
    assert (doubt.image, doubt.suggested, doubt.twin) == (0, 2, 6)
    [doubt] = find_doubts(given, probabilities, [(0, 6)], np.arange(7) == 0)
    assert (doubt.image, doubt.suggested, doubt.twin) == (6, 0, 0)
    assert find_doubts(given, probabilities, [(0, 6)], ~nobody) == []
