"""report: the page and the pictures, from small results of every kind a run may have."""

import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages import report
from stages.base.files import escape
from stages.draw.headline import summarize_gain
from stages.images.preview import write_preview
from stages.images.split_file import SplitRow, write_split
from stages.images.thumbnail import encode_thumbnail, make_thumbnail
from stages.measure.metrics import (
    choose_examples,
    count_confusions,
    measure,
    measure_calibrated,
    measure_classes,
    measure_reliability,
    uncalibrate,
)
from stages.splitting.near_duplicates import write_pairs
from tests.conftest import Refusal
from tests.helpers.copies import set_params

PICTURES = ["curves.png", "confusion.png", "reliability.png", "samples.png", "predictions.png"]


def photo(rng: np.random.Generator, gray: bool) -> bytes:
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, (6, 6) if gray else (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((40, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def put_split(path: Path, classes: list[str], count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Write a split file; return its rows."""
    names = [classes[number % len(classes)] for number in range(count)]
    rows = [
        SplitRow(f"{name}/{path.stem} {n}.jpg", name, photo(rng, n % 2 == 0), 40, 30) for n, name in enumerate(names)
    ]
    write_split(path, rows, classes, {"form": "photo", "polarity": "light_on_dark", "fit": "stretch"})
    return pd.read_parquet(path)


def put_history(path: Path, head: int, thawed: int, validated: bool) -> None:
    rows = []
    for phase, epochs in (("head", head), ("thawed", thawed)):
        for number in range(1, epochs + 1):
            loss = 2 / (len(rows) + 1)
            rate = None if (phase, epochs) == ("head", 1) else 0.001  # a head of one row is fitted without epochs
            validation = (loss + 0.2, 0.8 - loss / 3) if validated else (None, None)
            rows.append((phase, len(rows) + 1, loss, 1 - loss / 3, *validation, rate, int(number == epochs)))
    columns = ["phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "kept"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)


def put_results(
    folder: Path,
    classes: list[str],
    *,
    tested: int = 30,
    validated: int = 6,
    epochs: tuple[int, int] = (4, 3),
    wrong: float = 0.3,
    rejects: int = 2,
    seen: bool = False,
    views: int = 4,
    fresh: bool = False,
    calibrated: bool = False,
) -> Path:
    """Write what split, finetune and evaluate leave behind; ``wrong`` of the test images are predicted wrong."""
    rng = np.random.default_rng(1)
    for name in ("split", "extract", "finetune", "evaluate"):
        (folder / "data" / name).mkdir(parents=True)
    split, finetune, evaluate = (folder / "data" / name for name in ("split", "finetune", "evaluate"))
    (folder / "params.yaml").write_bytes((Path(__file__).parents[1] / "params.yaml").read_bytes())

    put_split(split / "train.parquet", classes, 2 * len(classes), rng)
    put_split(split / "val.parquet", classes, validated, rng)
    test = put_split(folder / "test.parquet", classes, tested, rng)  # not where the report could find it
    counts = {"train": 2 * len(classes), "val": validated, "test": tested}
    corrections = dict.fromkeys(("relabeled", "dropped", "confirmed", "left_out"), 0)
    lost = {"rejects": rejects, "duplicates": 0, "locked": 0, "corrections": corrections}
    summary = {"images": counts, "unused": 0, **lost}
    (split / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    escaped = [escape(name) for name in classes]
    by_class = {"class": escaped} | {name: range(place, place + len(classes)) for place, name in enumerate(counts)}
    pd.DataFrame(by_class).to_csv(split / "classes.csv", index=False)
    left_out = [(f"{classes[0]}/{n}.jpg", classes[0], "truncated <or> broken") for n in range(rejects)]
    pd.DataFrame(left_out, columns=["source", "class", "reason"]).to_csv(split / "rejects.csv", index=False)

    write_pairs(split / "near_duplicates.parquet", [])

    shown = classes[:3]
    eye = np.eye(len(classes))
    drawn = [
        (rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), 0.6 * eye[place] + 0.4 * eye[view % len(classes)])
        for place in range(len(shown))
        for view in [place, *range(views - 1)]
    ]
    write_preview(folder / "data/extract/seen.npz", drawn, [f"{name}/1.jpg" for name in shown], classes)

    (folder / "data/extract/boundary.json").write_text(json.dumps({"fresh": fresh}))

    put_history(finetune / "history.csv", *epochs, validated=validated > 0)
    layers = [(0, "conv", "Conv2D", 1000, "frozen"), (1, "norm", "BatchNormalization", 8, "inference")]
    layers.append((2, "dense", "Dense", 500, "thawed"))
    columns = ["index", "name", "type", "parameters", "state"]
    pd.DataFrame(layers, columns=columns).to_csv(finetune / "layers.csv", index=False)

    labels = test["label"].to_numpy()
    probabilities = rng.dirichlet(np.ones(len(classes)) / 2, size=tested)
    for row, label in enumerate(labels):  # put the highest probability where it shall be
        target = label if row >= round(wrong * tested) else (label + 1) % len(classes)
        best = probabilities[row].argmax()
        probabilities[row, [best, target]] = probabilities[row, [target, best]]
    predicted = probabilities.argmax(axis=1)
    models, compare = {"finetuned": probabilities}, min(epochs) > 0
    if compare:
        models = {"head": rng.dirichlet(np.ones(len(classes)), size=tested), **models}
    if calibrated:
        set_params(folder, {"finetune": {"calibrate": "temperature"}})
    scores = {"test_images": tested, **measure(labels, models, compare=compare, confidence=0.95, bins=15)}
    reliability = measure_reliability(labels, probabilities, 15, 0.95)
    if calibrated:
        for model, rows in models.items():
            scores[model] |= measure_calibrated(labels, np.log(rows), 1.5, 15)
        before = measure_reliability(labels, uncalibrate(np.log(probabilities), 1.5), 15, 0.95)
        reliability = pd.concat([reliability.assign(calibrated=1), before.assign(calibrated=0)])
    reliability.to_csv(evaluate / "reliability.csv", index=False)
    (evaluate / "scores.json").write_text(json.dumps(scores))
    measure_classes(labels, models, escaped).to_csv(evaluate / "per_class.csv", index=False)
    count_confusions(labels, probabilities, escaped).to_csv(evaluate / "confusion.csv")
    table = test[["class", "source", "sha256"]].assign(
        predicted=np.array(classes, dtype=object)[predicted], confidence=probabilities.max(axis=1)
    )
    chosen = choose_examples(table, 100)
    chosen["picture"] = [make_thumbnail(test["image"][place]["bytes"]) for place in chosen.index]
    view = encode_thumbnail(rng.integers(0, 256, (8, 8, 1), dtype=np.uint8))
    chosen["seen"] = [view if seen else None] * len(chosen)
    explained = (chosen.groupby("kind").cumcount() < 3) & (chosen["kind"] != "sample")
    wrong = explained & (chosen["kind"] == "wrong")
    for column, where, value in (
        ("evidence", explained, view),
        ("evidence_actual", wrong, view),
        ("method", explained, "occlusion"),
    ):
        chosen[column] = [value if one else None for one in where]
    chosen.to_parquet(evaluate / "examples.parquet")
    return folder


def run_in(folder: Path) -> str:
    """Run the stage; return its page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        report.main()
    written = {path.name for path in (folder / "data/report").iterdir()}
    assert written - {"views.png"} == {*PICTURES, "report.html"}
    return (folder / "data/report/report.html").read_text(encoding="utf-8")


NASTY = ["<b>bold</b>", "a & b", 'say "hi"', "$x^2$ {y} %s \\n", "NA", "007", "猫", "'quoted'", "=1+1", "'-2"]


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results whose classes and files have names that markup, formulas and tables could trip over."""
    folder = put_results(tmp_path_factory.mktemp("nasty"), NASTY, seen=True)
    run_in(folder)
    return folder


@pytest.fixture(scope="module")
def page(nasty: Path) -> str:
    return (nasty / "data/report/report.html").read_text(encoding="utf-8")


def test_names_show_as_they_are(page: str) -> None:
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "truncated &lt;or&gt; broken" in page
    for shown in ("a &amp; b", "say &quot;hi&quot;", "$x^2$ {y} %s \\n", "<td>NA</td>", "<td>007</td>", "猫"):
        assert shown in page, shown


def test_the_page_loads_nothing(page: str) -> None:
    assert "://" not in page
    assert "<script" not in page
    assert "<link" not in page
    assert "url(" not in page
    sources = re.findall(r'src="([^"]{0,15})', page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)


def test_the_pictures_hold_nothing_but_pixels(nasty: Path) -> None:
    for name in [*PICTURES, "views.png"]:
        with Image.open(nasty / "data/report" / name) as image:
            image.load()
            assert set(image.info) <= {"dpi"}, name


def test_the_most_confident_mistakes_come_first(page: str) -> None:
    sheet = page[page.index("Right and wrong") : page.index("Where it looks")]
    assert sheet.count('class="wrong"') == 9  # 30 % of 30; the sheet of 24 has room for 12
    assert sheet.count('class="right"') == 15
    assert sheet.index('class="wrong"') < sheet.index('class="right"')
    assert sheet.count("✗") == 9
    assert sheet.count("as the network sees it") == 24
    figures = re.findall(r'<figure class="wrong">.*?</figure>', sheet, re.S)
    confidences = [int(re.findall(r"(\d+)&nbsp;%", figure)[0]) for figure in figures]
    assert confidences == sorted(confidences, reverse=True)


def test_the_page_identifies_the_run_and_advises(nasty: Path, page: str) -> None:
    run, learning = page[page.index("The run") :], page[page.index("<h2>Learning") : page.index("Right and wrong")]
    assert "mnist_cnn at 28 px, trained on data/fetch/digits for 15 epochs" in run
    assert "1 of 3 layers; thawed from norm on (500 of 1,508 parameters, and the head)" in run
    assert "data/fetch/paper_digits (SHA-256 of the training and validation images: " in run
    digest = hashlib.md5((nasty / "data/evaluate/scores.json").read_bytes()).hexdigest()
    assert f"<code>git log -S {digest} -- dvc.lock</code>" in run
    assert "<li>Head only: still learning at the end" in learning
    assert "<li>Thawing helped: validation loss went from" in learning
    assert "there are few images (2 for training per class; the limit is 100)" in learning
    assert 'alt="Reliability diagram"' in page


def test_the_page_shows_where_the_network_looks(page: str) -> None:
    sheet = page[page.index("Where it looks") : page.index("Confusion matrix")]
    assert "(occlusion, Zeiler and Fergus 2014). For a mistake" in sheet
    assert sheet.count('class="strip"') == 6
    assert sheet.count("<b>for ") == 3 * 2 + 3
    assert sheet.index('class="wrong"') < sheet.index('class="right"')


def test_the_page_shows_what_the_network_saw_with_its_shares(nasty: Path, page: str) -> None:
    sheet = page[page.index("What the network saw") : page.index("<h2>Data")]
    assert sheet.count("<figure") == 3 * 4
    assert sheet.count("<b>the image</b>") == 3
    assert "<b>60 % a &amp; b</b>" in sheet
    assert "<span>40 % &lt;b&gt;bold&lt;/<wbr>b&gt;</span>" in sheet
    assert "a view mixed from two images" in sheet
    with Image.open(nasty / "data/report/views.png") as image:
        assert image.width > 400


def test_without_views_there_is_nothing_to_show(tmp_path: Path) -> None:
    assert "What the network saw" not in run_in(put_results(tmp_path, ["a", "b"], views=1))
    assert not (tmp_path / "data/report/views.png").exists()


def test_fresh_views_are_examples(page: str, tmp_path: Path) -> None:
    drawn = "each epoch draws new ones"
    assert drawn not in page
    assert drawn in run_in(put_results(tmp_path, ["a", "b"], fresh=True))


def test_training_accuracy_below_that_of_validation_is_explained(page: str, tmp_path: Path) -> None:
    reason = "it can be lower than validation accuracy"
    assert f"Training accuracy is measured on augmented views: {reason}." in page
    put_results(tmp_path, ["a", "b"], views=1)
    assert reason not in run_in(tmp_path)
    layers = tmp_path / "data/finetune/layers.csv"
    layers.write_text(f"{layers.read_text()}3,dropout,Dropout,0,thawed\n")
    assert f"Training accuracy is measured with dropout: {reason}." in run_in(tmp_path)


def test_what_is_in_no_split_is_told_from_what_is_left_out(page: str, tmp_path: Path) -> None:
    assert "Left out: 2 that cannot be used." in page
    assert "in no split" not in page
    summary = put_results(tmp_path, ["a", "b"], rejects=0) / "data/split/summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "unused": 7}))
    data = run_in(tmp_path)
    assert "Left out" not in data
    assert "7 more are in no split, because split.train, val and test ask for fewer." in data


def test_the_images_of_each_class_are_counted(page: str) -> None:
    assert "10 classes; images: 20 train, 6 val, 30 test" in page
    data = page[page.index("<h2>Data") :]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>.*?</tr>", data, re.S)]
    for row in (["NA", "4", "5", "6"], ["007", "5", "6", "7"], ["猫", "6", "7", "8"]):
        assert row in rows


@pytest.mark.parametrize(
    ("classes", "options", "says"),
    [
        pytest.param(
            2,
            {"wrong": 0.0},
            ["No test image was misclassified", "Right: 12 of 30, the least confident first", "12 of 30, chosen at"],
            id="all right, 2 classes",
        ),
        pytest.param(
            35,
            {"tested": 40, "epochs": (1, 45)},
            [
                "The other 10 classes",
                "Most frequent mistakes: 10 of 12 pairs of classes",
                "Wrong: 12",
                "The head was fitted without epochs",
            ],
            id="35 classes, a logistic head",
        ),
        pytest.param(
            3,
            {"validated": 0, "epochs": (3, 0)},
            ["Only the head was trained", "all 3 layers (1,508 parameters); only the head trained"],
            id="no validation, nothing thawed",
        ),
        pytest.param(
            3,
            {"calibrated": True},
            [
                "1.500</td>",
                "Calibration error before",
                "before calibration",
                "the rings are the model without it",
            ],
            id="calibrated",
        ),
        pytest.param(
            3, {"validated": 0, "rejects": 201}, ["The first 200 of 201", "The thawed phase"], id="no validation"
        ),
        pytest.param(
            3,
            {"epochs": (0, 2), "wrong": 1.0},
            ["Wrong: 24 of 30", "is no head-only model"],
            id="all wrong, no head phase",
        ),
        pytest.param(
            3, {"epochs": (0, 0), "tested": 1, "wrong": 0.0}, ["Right: 1", "test: 1 image"], id="next to nothing"
        ),
    ],
)
def test_every_kind_of_run_has_its_report(
    classes: int, options: dict[str, Any], says: list[str], tmp_path: Path
) -> None:
    page = run_in(put_results(tmp_path, [f"class {number}" for number in range(classes)], **options))
    visible = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    for words in says:
        assert words in visible
    assert not re.search(r"\bnan\b", visible, re.I)
    two = min(options.get("epochs", (1, 1))) > 0
    assert ('class="chip thawed"' in page) == (options.get("epochs", (1, 1))[1] > 0)
    assert ("fine-tuned" in visible.lower()) == (options.get("epochs", (1, 1))[1] > 0)
    assert ("<h3>Gain</h3>" in visible, "F1 head only" in visible) == (two, two)


def test_it_needs_no_tensorflow_and_writes_the_same_bytes_again(nasty: Path, project: Path) -> None:
    before = {path.name: path.read_bytes() for path in (nasty / "data/report").iterdir()}
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(project)!r})\n"
        "sys.modules.update(dict.fromkeys(('tensorflow', 'keras', 'jax', 'torch')))\n"  # None: their import fails
        "from stages.report import main\n"
        "main()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=nasty, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in (nasty / "data/report").iterdir()} == before


@pytest.mark.parametrize(
    "file", ["data/finetune/layers.csv", "data/split/classes.csv", "data/evaluate/scores.json", "data/extract/seen.npz"]
)
def test_a_missing_result_is_named(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    put_results(tmp_path, ["a", "b"])
    (tmp_path / file).unlink()
    monkeypatch.chdir(tmp_path)
    assert f"{file} is missing. Run `dvc repro {file.split('/')[1]}`" in refused(report.main)


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ((0.05, 0.02, 0.08), ["gained 5.0 points", "+2.0 to +8.0", "excludes zero"]),
        ((0.05, -0.01, 0.11), ["gained 5.0 points", "includes zero", "120 test images do not show"]),
        ((-0.05, -0.08, -0.02), ["cost 5.0 points", "\N{MINUS SIGN}8.0 to \N{MINUS SIGN}2.0", "excludes zero"]),
        ((0.01, 0.0004, 0.02), ["+0.04 to +2.00", "excludes zero"]),
        ((0.0, -0.01, 0.01), ["did not change the accuracy", "includes zero"]),
    ],
)
def test_the_verdict_says_what_the_interval_allows(gain: tuple[float, float, float], words: list[str]) -> None:
    row = dict(zip(("accuracy", "accuracy_low", "accuracy_high"), gain, strict=True))
    said = summarize_gain(row, images=120, confidence=0.95, thawed=True)
    assert "95 % interval" in said
    for word in words:
        assert word in said


def test_a_thumbnail_keeps_proportions_and_shows_the_pixels_of_small_images() -> None:
    def size(width: int, height: int) -> tuple[int, int]:
        buffer = io.BytesIO()
        Image.new("RGB", (width, height)).save(buffer, "PNG")
        return Image.open(io.BytesIO(make_thumbnail(buffer.getvalue()))).size

    assert size(1440, 720) == (144, 72)
    assert size(28, 28) == (140, 140)
    assert size(3000, 2) == (144, 1)
    assert size(100, 60) == (100, 60)
