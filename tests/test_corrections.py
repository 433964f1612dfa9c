"""Corrections of labels: a table in git that split reads; each row does what it says, or ends in one line."""

import csv
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.base.splits import SPLITS
from stages.draw import results, tables
from stages.images.split_file import SplitFile
from stages.split import main
from stages.splitting.correction_table import add_undecided, format_row, read_corrections
from stages.splitting.lock_table import write_rows
from stages.tools import lock
from tests.conftest import PROJECT, Refusal
from tests.helpers.copies import set_params

TABLE = Path("data/tables/corrections.csv")
NAME = str(TABLE)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with six images each of cats and dogs, two of them in train, one in val and three in test."""
    shutil.copy(PROJECT / "recipes" / "default.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    changed = {"source": "data/own/set", "form": "photo", "train": 2, "val": 1, "test": "rest", "corrections": NAME}
    set_params(tmp_path, {"split": changed})
    TABLE.parent.mkdir(parents=True)
    TABLE.write_text("image,label\n")
    folder = tmp_path / "data" / "own" / "set"
    for place, name in enumerate(("cat", "dog")):
        for number in range(6):
            put(folder / name / f"{number}.png", 10 * place + number)
    return folder


def put(path: Path, seed: int) -> None:
    """Save an image of noise of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(path)


def correct(*rows: str, header: str = "image,label,pixels,note") -> None:
    TABLE.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    main()


def classes() -> dict[str, str]:
    """The class of each image in the splits, by its path."""
    files = [SplitFile(Path(f"data/split/{name}.parquet")) for name in SPLITS]
    return {s: file.classes[label] for file in files for s, label in zip(file.sources(), file.labels(), strict=True)}


def pixels(source: str) -> str:
    files = [SplitFile(Path(f"data/split/{name}.parquet")) for name in SPLITS]
    return next(each for file in files for s, each in zip(file.sources(), file.pixels(), strict=True) if s == source)


def counts() -> dict[str, int]:
    found: dict[str, int] = json.loads(Path("data/split/summary.json").read_text())["corrections"]
    return found


def left_out() -> list[tuple[str, ...]]:
    with Path("data/split/rejects.csv").open(encoding="utf-8", newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def test_images_are_relabeled_dropped_and_confirmed_and_all_of_it_is_counted(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    correct("cat/0.png,dog", "cat/1.png,drop", "dog/2.png,dog,,looked at it", "dog/3.png,,,dog? 4 %")
    assert classes()["cat/0.png"] == "dog"
    assert "cat/1.png" not in classes()
    assert len(classes()) == 11
    assert left_out() == [("cat/1.png", "cat", f"dropped by {NAME}")]
    assert counts() == {"relabeled": 1, "dropped": 1, "confirmed": 1, "left_out": 1}
    said = capsys.readouterr().out
    assert f"  2 corrections: 1 relabeled, 1 dropped; 1 confirmed; 1 undecided (see {NAME})\n" in said
    assert "left out: 0 unreadable, 0 duplicates, 1 dropped by corrections (see data/split/rejects.csv)" in said
    summary = json.loads(Path("data/split/summary.json").read_text())
    files = (results.read_table(Path("data/split") / name) for name in ("classes.csv", "rejects.csv"))
    data = tables.render_data(summary, *files)
    assert "Left out: 1 by corrections." in data
    assert "Corrections of labels: 1 relabeled, 1 dropped, 1 confirmed." in data


def test_what_changes_no_label_changes_no_byte_of_the_images(own: Path) -> None:
    """So nothing after split runs again."""
    main()
    before = [Path(f"data/split/{name}.parquet").read_bytes() for name in SPLITS]
    correct("cat/0.png,cat", "dog/3.png,,")
    assert [Path(f"data/split/{name}.parquet").read_bytes() for name in SPLITS] == before


def test_the_hash_identifies_a_picture_whatever_its_file_is_called(own: Path, refused: Refusal) -> None:
    main()
    row = format_row("cat/0.png", "dog", pixels("cat/0.png"))
    (own / "cat/0.png").rename(own / "cat/renamed.png")
    put(own / "cat/0.png", 99)  # as if images were numbered, and all had moved by one
    correct(row)
    assert classes()["cat/renamed.png"] == "dog"
    assert classes()["cat/0.png"] == "cat"
    (own / "cat/renamed.png").unlink()
    assert "line 2: cat/0.png has other pixels than when this row was written. Look at it again" in refused(main)
    (own / "cat/0.png").unlink()
    assert "line 2: the row matches no image of the data set: cat/0.png." in refused(main)


def test_a_row_holds_for_every_copy_of_a_picture(own: Path) -> None:
    shutil.copy(own / "cat/0.png", own / "cat/copy.png")
    correct("cat/0.png,dog")
    assert {"cat/0.png", "cat/copy.png"} & classes().keys() == {"cat/0.png"}, "one of them is a duplicate"
    assert classes()["cat/0.png"] == "dog"
    assert counts()["relabeled"] == 1
    shutil.copy(own / "dog/5.png", own / "cat/also.png")  # in two classes: left out, unless somebody decides
    main()
    assert "dog/5.png" not in classes()
    correct("cat/also.png,cat")
    assert {classes().get(name) for name in ("cat/also.png", "dog/5.png")} == {"cat", None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: expected the header image,label,pixels; received: nothing"),
        ("file,label\na,b\n", "line 1: expected the header image,label,pixels; received: file,label"),
        ("image,label,label\n", "line 1: expected the header"),
        ("image,label\ncat/0.png,dgo\n", "line 2: expected a class of the data set, or drop; received 'dgo'. Did you"),
        ("image,label\n\ncat/9.png,dog\n", "line 3: the row matches no image of the data set: cat/9.png. Did you mean"),
        ("image,label\n../cat/0.png,dog\n", "no image of the data set: ../cat/0.png."),
        ("image,label\ncat/0.png,dog,x\n", "line 2: expected at most 2 cells, as the header has; received: cat/0.png"),
        ("image,label\n,dog\n", "line 2: expected the path of an image, or the hash of its pixels; received: ,dog"),
        ("image,label\ncat/0.png,dog\ncat/0.png,drop\n", "lines 2 and 3: expected one label for a picture; received"),
        ("image,label,pixels\ncat/0.png,dog,1.2E+15\n", "line 2: expected 16 hexadecimal digits or more, or none, in"),
        (f"image,label,pixels\n,dog,{'0' * 16}\n", f"the row matches no image of the data set: {'0' * 16}."),
        ('image,label\n"cat/0.png,dog\n', "expected a table of comma-separated values, UTF-8; received: unexpected"),
        ("image,label\ncat/0.png,d\udcff\n", "expected a table of comma-separated values, UTF-8; received: 'utf-8'"),
    ],
)
def test_a_table_that_cannot_be_applied_is_one_line(own: Path, refused: Refusal, text: str, said: str) -> None:
    TABLE.write_bytes(text.encode("utf-8", "surrogateescape"))
    message = refused(main)
    assert said in message
    assert message.startswith("split: ")
    assert message.count("\n") == 1
    assert NAME in message
    assert not Path("data/split").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "data/own/table.csv",
            "split.corrections: expected none, or a table in data/tables/, which git keeps; received",
        ),
        ("data/tables/x.csv", "there is no data/tables/x.csv. `python -m stages labels --write` makes one; or set it"),
        ("table", "split.corrections: expected none, or a .csv table in data/tables/; received 'table'"),
    ],
)
def test_a_table_elsewhere_or_missing_is_refused(own: Path, refused: Refusal, value: str, said: str) -> None:
    set_params(Path(), {"split": {"corrections": value}})
    assert said in refused(main)


def test_one_picture_with_two_labels_by_path_and_by_hash_is_refused(own: Path, refused: Refusal) -> None:
    main()
    digits = pixels("cat/0.png")
    TABLE.write_text(f"image,label,pixels\ncat/0.png,dog\n,drop,{digits}\n")
    assert "lines 3 and 2: expected one label for a picture; received 'drop' for" in refused(main)
    correct("cat/0.png,dog", f",dog,{digits.upper()}", "cat/0.png,dog")  # a merge may leave rows that agree
    assert counts()["relabeled"] == 1


def test_a_class_named_like_the_word_that_drops_is_refused(own: Path, refused: Refusal) -> None:
    for number in range(4):
        put(own / "drop" / f"{number}.png", 50 + number)
    TABLE.write_text("image,label\ncat/0.png,drop\n")
    assert "line 2: 'drop' is a class of this data set, and the word that drops an image" in refused(main)


def test_tables_saved_by_others_are_read(own: Path) -> None:
    (own / "cat/0.png").rename(own / "cat/=e\u0301, 0.png")
    for text in (
        '\ufeffImage;Label;Pixels\r\n"\'=cat/no";;\r\ncat/\u003de\u0301, 0.png;dog;\r\n;;\r\n',
        "image\tlabel\ncat/\u003d\u00e9, 0.png\tdog\n\n",
        '"image","label"\n"cat/=\u00e9, 0.png","dog"\n',
    ):
        TABLE.write_text(text, encoding="utf-8", newline="")
        main()
        assert counts()["relabeled"] == 1, text


def test_rows_of_other_classes_than_those_learned_are_counted(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        put(own / "owl" / f"{number}.png", 70 + number)
    main()
    owl = format_row("owl/1.png", "drop", pixels("owl/1.png"))
    set_params(Path(), {"split": {"classes": ["cat", "dog"]}})
    correct("owl/0.png,cat", owl, "cat/0.png,owl", f",owl,{'0' * 16}")
    assert classes()["owl/0.png"] == "cat", "its path says that it comes into a class that is learned"
    assert "cat/0.png" not in classes()
    assert "2 of other classes than split.classes" in capsys.readouterr().out


def test_an_unreadable_image_can_be_dropped(own: Path, refused: Refusal) -> None:
    (own / "cat/broken.png").write_bytes(b"no image")
    assert "1 of 13 images (7.7%) cannot be used" in refused(main)
    correct("cat/broken.png,drop")
    assert left_out() == [("cat/broken.png", "cat", f"dropped by {NAME}")]


def test_a_corrected_image_stays_in_its_group(own: Path) -> None:
    """The folder that names the group is not that of the class any more."""
    shutil.rmtree(own)
    for place, name in enumerate(("cat", "dog")):
        for patient in range(12):
            for number in range(2):
                put(own / name / f"p{patient}" / f"{number}.png", 100 * place + 2 * patient + number)
    amounts = {"train": 0.5, "val": 0.2, "test": "rest", "group": "folder"}
    set_params(Path(), {"split": {**amounts, "parts": {"train": "."}}})
    main()
    before = {source: name for name in SPLITS for source in SplitFile(Path(f"data/split/{name}.parquet")).sources()}
    correct("cat/p3/0.png,dog")
    after = {source: name for name in SPLITS for source in SplitFile(Path(f"data/split/{name}.parquet")).sources()}
    assert after == before


def test_corrections_of_locked_test_images_are_said(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_params(Path(), {"split": {"train": "rest", "test": 2}})
    main()
    write_rows(lock.LOCKED, lock.read_splits(Path("data/split")))
    tested, trained = (SplitFile(Path(f"data/split/{name}.parquet")).sources() for name in ("test", "train"))
    correct(f"{trained[0]},drop", f"{tested[0]},drop")
    said = f"  1 of the corrected images are locked test images ({tested[0]}): accuracies before and after are of"
    assert said in capsys.readouterr().out
    correct(f"{trained[0]},drop")
    assert "corrected images" not in capsys.readouterr().out


def test_an_archive_is_corrected_like_its_folder(own: Path) -> None:
    shutil.make_archive(str(own), "zip", own)
    correct("cat/0.png,dog")
    expected = classes()
    set_params(Path(), {"split": {"source": "data/own/set.zip"}})
    main()
    assert classes() == expected
    assert expected["cat/0.png"] == "dog"


def test_undecided_rows_are_added_to_any_table(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    rows: Iterable[tuple[str, str, str]] = [("=cat/1, 2.png", "ab" * 32, "dog? 4 %")]
    add_undecided(path, rows)
    assert path.read_text() == 'image,label,pixels,note\n"\'=cat/1, 2.png",,abababababababab,dog? 4 %\n'
    path.write_text("label;image\ndog;cat/0.png")
    add_undecided(path, rows)
    assert path.read_text() == "label;image\ndog;cat/0.png\n;'=cat/1, 2.png\n"
    found = read_corrections(str(path), tmp_path)
    assert [row.image for row in found.undecided] == ["=cat/1, 2.png"]
    assert list(found.by_path) == ["cat/0.png"]
