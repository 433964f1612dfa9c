"""Draw and explain the results: up to six pictures, and one page that opens offline.

    python -m stages.report

Reads what split, finetune and evaluate wrote, and the views that extract stored. It does not read the test split, of
which evaluate stored a few images. Writes curves, confusion, reliability, samples, predictions
and views (.png) and report.html.
"""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from stages.base.files import check_names, hash_file, read_json, refuse_damaged
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.base.terminal import say
from stages.draw import captions, results, sheet_content, tables
from stages.draw.confusion import draw_confusion
from stages.draw.curves import draw_curves
from stages.draw.headline import render_headline, summarize_gain
from stages.draw.numbers import MINUS
from stages.draw.page import Html, bullets, document, facts, note, picture, section, sheet, strips
from stages.draw.reliability import draw_reliability
from stages.draw.run_facts import describe_run, name_commit
from stages.draw.sheets import Group, draw_sheet
from stages.images.preview import are_augmented, read_preview
from stages.images.split_file import SplitFile
from stages.images.thumbnail import make_thumbnail
from stages.measure.comparison import report_overlap
from stages.schema.evaluate import Evaluate
from stages.schema.finetune import Finetune, Head
from stages.schema.pretrain import Pretrain
from stages.schema.report import Report
from stages.schema.split import Split
from stages.training.advice import Run, suggest
from stages.training.verdicts import judge, judge_thawing

PARAMS = Path("params.yaml")
TRAIN = Path("data/split/train.parquet")
VAL = Path("data/split/val.parquet")
SUMMARY = Path("data/split/summary.json")
BY_CLASS = Path("data/split/classes.csv")
LEFT_OUT = Path("data/split/rejects.csv")
NEAR = Path("data/split/near_duplicates.parquet")
HISTORY = Path("data/finetune/history.csv")
LAYERS = Path("data/finetune/layers.csv")
SCORES = Path("data/evaluate/scores.json")
PER_CLASS = Path("data/evaluate/per_class.csv")
CONFUSION = Path("data/evaluate/confusion.csv")
RELIABILITY = Path("data/evaluate/reliability.csv")
SEEN = Path("data/extract/seen.npz")
BOUNDARY = Path("data/extract/boundary.json")
EXAMPLES = Path("data/evaluate/examples.parquet")
REPORT = Path("data/report")


@stage("report")
def main() -> None:
    """Read, draw, write."""
    params, measures = read_section(PARAMS, "report", Report), read_section(PARAMS, "evaluate", Evaluate)
    pretrain, finetune = read_section(PARAMS, "pretrain", Pretrain), read_section(PARAMS, "finetune", Finetune)
    scores = read_json(SCORES, "test_images", "finetuned")
    summary = read_json(SUMMARY, "images", "unused", "rejects", "duplicates", "locked", "corrections")
    images, by_class = scores["test_images"], results.read_table(BY_CLASS)
    with refuse_damaged(EXAMPLES, "pictures of predictions"):
        examples = pd.read_parquet(EXAMPLES)
        check_names(sheet_content.COLUMNS, map(str, examples))
    near, history, matrix = (
        results.read_pairs(NEAR),
        results.read_table(HISTORY),
        results.read_matrix(CONFUSION, images),
    )
    thawed = bool((history["phase"] == "thawed").any())
    seen = bool(examples["seen"].notna().any())
    wrong = images - (right := int(matrix.to_numpy().trace()))
    predictions = sheet_content.group_predictions(examples, wrong, right, params.predictions)
    tested = sheet_content.choose_evenly(examples[examples["kind"] == "sample"], list(matrix.index), params.samples)
    samples = [sample_split(path, params.samples) for path in (TRAIN, VAL)] + [
        sheet_content.group_samples("test", images, tested)
    ]
    samples = [group for group in samples if group.tiles]
    pixels, previews = read_preview(SEEN)
    views = sheet_content.group_views(pixels, previews)
    about_views = captions.VIEWS_FRESH if read_json(BOUNDARY, "fresh")["fresh"] else captions.VIEWS
    about_views += captions.VIEWS_MIXED * any(tile.second for group in views for tile in group.tiles)
    layers, per_class = results.read_layers(LAYERS, thawed), results.read_table(PER_CLASS)
    dropout = drops_units(finetune.head, layers)
    about_curves = captions.explain_curves(history, thawed=thawed, dropout=dropout, augmented=are_augmented(pixels))
    calibrated = finetune.calibrate != "none"
    about_curves += captions.CURVES_CALIBRATED * calibrated
    about_classes = captions.CLASSES + captions.CLASSES_TWO * ("gain" in scores)
    model = "the fine-tuned model" if thawed else "the model"
    evidence = sheet_content.group_evidence(examples)
    methods = examples["method"].dropna().unique()
    about_evidence = " ".join(captions.EVIDENCE[method] for method in methods) + captions.EVIDENCE_ACTUAL * bool(wrong)
    source, about = read_values(PARAMS, "split", Split, "source", "about")
    verdicts = [*judge(history), *([judge_thawing(history, scores["gain"])] if "gain" in scores else [])]
    said = summarize_gain(scores.get("gain"), images, measures.confidence, thawed)

    data = f"{source} (SHA-256 of the training and validation images: {hash_images(TRAIN, VAL)})"
    commit = Html(f"the oldest that <code>{name_commit(hash_file(SCORES, 'md5'))}</code> shows")
    run = [*describe_run(pretrain, finetune, layers), ("Data", data), ("Commit", commit)]

    with replace_folder(REPORT) as folder:
        draw_curves(history, folder / "curves.png")
        draw_confusion(matrix, folder / "confusion.png")
        draw_reliability(results.read_table(RELIABILITY), measures.confidence, folder / "reliability.png")
        draw_sheet(samples, 10, folder / "samples.png")
        draw_sheet(predictions, 6, folder / "predictions.png")
        if views:
            draw_sheet(views, len(views[0].tiles), folder / "views.png")
        names = ("curves.png", "confusion.png", "reliability.png")
        curves, confusion, reliability = ((folder / name).read_bytes() for name in names)
        parts = [
            section("The run", facts(run)),
            render_headline(scores, images, measures.confidence, measures.calibration_bins, thawed),
            section(
                "Learning",
                picture(curves, "Learning curves", 620),
                note(about_curves),
                bullets(verdicts),
            ),
            section("What to try next", bullets(suggest_next(pretrain, finetune, history, summary, len(by_class)))),
            section(
                "Right and wrong",
                captions.PREDICTIONS.format(model=model) + captions.PREDICTIONS_SEEN * seen,
                sheet(predictions, 130),
            ),
            *([section("Where it looks", about_evidence, strips(evidence))] if evidence else []),
            section(
                "Confusion matrix",
                picture(confusion, "Confusion matrix", 320 + 50 * len(matrix), 160 + 25 * len(matrix)),
                note(captions.MATRIX.format(model=model)),
                tables.render_confusions(matrix),
            ),
            section(
                "Confidence",
                picture(reliability, "Reliability diagram", 480),
                note(captions.RELIABILITY.format(model=model) + captions.RELIABILITY_CALIBRATED * calibrated),
            ),
            section("Class by class", tables.render_classes(per_class), note(about_classes)),
            section("The images", sheet(samples, 80)),
            *([section("What the network saw", about_views, sheet(views, 96))] if views else []),
            *(
                [section("Near duplicates", captions.NEAR, sheet([sheet_content.group_pairs(near)], 96))]
                if len(near)
                else []
            ),
            tables.render_data(summary, by_class, results.read_table(LEFT_OUT)),
            tables.render_layers(layers),
        ]
        described = tables.describe_data(summary, len(by_class), about)
        (folder / "report.html").write_text(
            document("Transfer learning report", said, described, parts), encoding="utf-8"
        )
    say(said.replace(MINUS, "-"))
    # Only a line: it reads DVC's cache by the hashes in dvc.lock, never data/split/test.parquet.
    report_overlap(SUMMARY.with_name("test.parquet"), Path("dvc.lock"))
    say(f"open {REPORT / 'report.html'} in a browser")


def suggest_next(
    pretrain: Pretrain, finetune: Finetune, history: pd.DataFrame, summary: dict[str, Any], classes: int
) -> list[str]:
    """Return sentences on what to freeze and at which rate to train.

    Args:
        pretrain: the section of params.yaml.
        finetune: likewise.
        history: of the training.
        summary: content of data/split/summary.json.
        classes: how many.
    """
    if not pretrain.has_weights:
        return ["This is training from scratch: compare it with a backbone that has learned from other images."]
    head, params = history[(history["phase"] == "head") & (history["kept"] == 1)], finetune.head
    accuracy = None if head.empty or head["val_accuracy"].isna().any() else float(head["val_accuracy"].iloc[0])
    rate = params.learning_rate if params.solver == "gradient" and params.epochs else None
    images = summary["images"]
    return suggest(Run(images["train"], classes, images["val"], accuracy, rate))


def hash_images(*paths: Path) -> str:
    """Return the first digits of a hash of the images in split files, whatever their order."""
    hashes = [each for path in paths for each in pd.read_parquet(path, columns=["sha256"])["sha256"]]
    return hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()[:12]


def drops_units(head: Head, layers: pd.DataFrame) -> bool:
    """Return whether dropout was active in training: in the head, or in thawed layers.

    Args:
        head: finetune.head.
        layers: of the backbone, with type and state.
    """
    in_head = any(head.dropout) if isinstance(head.dropout, list) else head.dropout > 0
    return in_head or bool((layers["type"].str.endswith("Dropout") & layers["state"].eq("thawed")).any())


def sample_split(path: Path, count: int) -> Group:
    """Return a sample of a split's images, ordered by hash, which is as good as random."""
    split = SplitFile(path)
    with refuse_damaged(path, "a split file"):
        rows = pd.read_parquet(path, columns=["class", "source", "sha256"]).sort_values("sha256", kind="stable")
    chosen = sheet_content.choose_evenly(rows, split.classes, count)
    wanted = set(chosen.index)
    values = split.reading.get("range")
    pictures = {place: make_thumbnail(image, values) for place, image in enumerate(split.images()) if place in wanted}
    return sheet_content.group_samples(path.stem, len(split), chosen.assign(picture=chosen.index.map(pictures)))


if __name__ == "__main__":
    main()
