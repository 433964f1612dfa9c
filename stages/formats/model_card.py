"""The model card: ``README.md`` of an exported model, with the header that the Hugging Face Hub reads."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stages.backbones.profiles import LICENSES, NOT_STATED, PROFILES
from stages.backbones.registry import BACKBONES
from stages.compute.exported import DISTANCE
from stages.draw.markdown import escape_markdown
from stages.draw.numbers import format_percent
from stages.draw.results import rank_confusions
from stages.formats.card import EXAMPLES, FILES, NAME, PREPROCESS, Card, split_name
from stages.measure.summary import describe_scores
from stages.schema.pretrain import Pretrain

MODEL_CARD = "README.md"

_WEAKEST = 25  # classes listed, the least accurate first
_CONFUSED = 10  # pairs of classes listed
_LIBRARIES = {"onnx": "onnx", "litert": "litert", "saved_model": "tf-keras", "keras": "keras"}  # as the Hub names them
_FORMATS = {"onnx": "ONNX", "litert": "LiteRT", "saved_model": "TensorFlow SavedModel", "keras": "Keras"}
# What to install, and how to get from `pixels` to `probabilities`.
_RUN = {
    "onnx": (
        "onnxruntime",
        "import onnxruntime",
        'session = onnxruntime.InferenceSession("{file}")',
        'probabilities = session.run(["probabilities"], {{"pixels": pixels}})[0]',
    ),
    "litert": (
        "ai-edge-litert",
        "from ai_edge_litert.interpreter import Interpreter",
        'interpreter = Interpreter("{file}")',
        'probabilities = interpreter.get_signature_runner("serving_default")(pixels=pixels)["probabilities"]',
    ),
    "saved_model": (
        "tensorflow",
        "import tensorflow as tf",
        'model = tf.saved_model.load("{file}")',
        'probabilities = model.signatures["serving_default"](pixels=tf.constant(pixels))["probabilities"].numpy()',
    ),
    "keras": (
        "keras tensorflow",
        "import keras",
        'model = keras.saving.load_model("{file}")',
        "probabilities = model.predict(pixels)",
    ),
}


@dataclass(frozen=True)
class Measured:
    """What evaluate measured.

    Attributes:
        scores: the content of scores.json.
        per_class: of the exported model: class, images, finetuned_f1, finetuned_precision, finetuned_recall.
        matrix: of confusions, in images; rows are actual classes, columns predicted ones.
        confidence: of the intervals.
    """

    scores: Mapping[str, Any]
    per_class: pd.DataFrame
    matrix: pd.DataFrame
    confidence: float


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        source: of the images, as params.yaml names it.
        images: how many each split has.
        run: facts on backbone and training, with their names.
        weights: on the license of the backbone's weights.
        commit: the git command that finds the commit.
    """

    source: str
    images: Mapping[str, int]
    run: Sequence[tuple[str, str]]
    weights: str
    commit: str


def describe_model(card: Card, terms: str, origin: Origin, measured: Measured) -> str:
    """Return the model card.

    Args:
        card: of the model.
        terms: license of the model, as the Hub abbreviates it.
        origin: of the model.
        measured: of the model.
    """
    classes = f"{len(card.classes)} classes: {', '.join(map(escape_markdown, card.classes[:_WEAKEST]))}"
    more = f" and {len(card.classes) - _WEAKEST} more" if len(card.classes) > _WEAKEST else ""
    parts = [
        *_write_header(card, terms, origin, measured.scores),
        f"# Image classifier: {len(card.classes)} classes",
        f"Returns the probability of each of {classes}{more}. Made by transfer learning with Thaw.",
        "## How to run it",
        *_describe_use(card),
        "## Results",
        _list(describe_scores(measured.scores, measured.confidence)),
        *_describe_classes(measured),
        "## Training",
        _list([f"{name}: {escape_markdown(fact)}." for name, fact in origin.run]),
        "## Data and licenses",
        _list(_describe_data(card, terms, origin)),
        "## Limits",
        _list(_describe_limits(card, measured)),
        "## Origin",
        f"In the repository that made it, `{origin.commit}` lists the commit, as the oldest one. `dvc repro` there "
        f"makes this folder again.",
    ]
    return "\n\n".join(parts) + "\n"


def describe_weights(pretrain: Pretrain) -> str:
    """Return a sentence on the license of the weights that a backbone started from.

    Args:
        pretrain: the section of params.yaml.
    """
    spec = BACKBONES.get(pretrain.backbone)
    if not pretrain.source.endswith("_imagenet") or spec is None:
        if pretrain.epochs:
            return f"The backbone's weights were trained here, on {pretrain.source}, whose license applies, too."
        return f"The backbone's weights come from {pretrain.source}; their license is not recorded."
    terms = PROFILES[spec.family.name].license
    stated = "" if terms == NOT_STATED else f" ({LICENSES})"
    return (
        f"The backbone's weights were published with keras.applications ({spec.constructor}) and trained on ImageNet; "
        f"license: {terms}{stated}."
    )


def _write_header(card: Card, terms: str, origin: Origin, scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield YAML; texts are quoted as in JSON, which is YAML, too."""
    values = {"accuracy": scores["finetuned"]["accuracy"], "f1": scores["finetuned"]["macro_f1"]}
    name = origin.source.rstrip("/").rpartition("/")[2]
    libraries = [_LIBRARIES[split_name(each)[0]] for each in card.formats]
    lines = [
        f"license: {terms}",
        f"library_name: {libraries[0]}",
        "pipeline_tag: image-classification",
        "tags:",
        *(f"- {tag}" for tag in dict.fromkeys(["image-classification", *libraries])),
        "metrics:",
        *(f"- {metric}" for metric in values),
        "model-index:",
        f"- name: {json.dumps(f'{name} classifier', ensure_ascii=False)}",
        "  results:",
        "  - task:",
        "      type: image-classification",
        "    dataset:",
        f"      name: {json.dumps(name, ensure_ascii=False)}",
        "      type: imagefolder",
        "      split: test",
        "    metrics:",
        *(line for metric, value in values.items() for line in (f"    - type: {metric}", f"      value: {value}")),
    ]
    yield "\n".join(["---", *lines, "---"])


def _name_format(name: str, precision: str) -> str:
    return _FORMATS[name] if precision == "float32" else f"{_FORMATS[name]} in {precision}"


def _describe_use(card: Card) -> Iterator[str]:
    first = card.formats[0]
    library, *code = _RUN[first]
    with_ink = " scipy" if card.contract.form == "ink" else ""
    yield "\n".join(
        [
            "```python",
            f"# pip install numpy pillow{with_ink} {library}",
            "import json",
            "from pathlib import Path",
            "",
            code[0],
            "",
            "from preprocess import load",
            "",
            'classes = json.loads(Path("model.json").read_text(encoding="utf-8"))["classes"]',
            'pixels = load(Path("examples/color.png").read_bytes())[None]',
            *(line.format(file=FILES[first]) for line in code[1:]),
            "print(classes[probabilities[0].argmax()], probabilities[0].max())",
            "```",
        ]
    )
    files = [(FILES[name], f"the model as {_name_format(*split_name(name))}") for name in card.formats]
    files += [
        (PREPROCESS, "makes the pixels of an image file. Resizing in another way costs accuracy"),
        (NAME, "class names, inputs and outputs"),
        (f"{EXAMPLES}/", "drawn pictures with their pixels and probabilities, to check a program in another language"),
        ("parity.json", "how closely each file agrees with what was measured"),
    ]
    yield _write_table(("file", "is"), [(f"`{file}`", what) for file, what in files])


def _describe_classes(measured: Measured) -> Iterator[str]:
    ordered = measured.per_class.sort_values("finetuned_f1", kind="stable")
    tested = ordered[ordered["images"] > 0]
    columns = ["finetuned_f1", "finetuned_precision", "finetuned_recall"]
    rows = [
        (escape_markdown(row["class"]), row["images"], *(format_percent(row[column]) for column in columns))
        for _, row in tested.head(_WEAKEST).iterrows()
    ]
    some = f"The {_WEAKEST} weakest of {len(tested)} classes" if len(tested) > _WEAKEST else "Class by class"
    yield f"{some}, the weakest first, in percent:"
    yield _write_table(("class", "test images", "F1", "precision", "recall"), rows)
    if pairs := rank_confusions(measured.matrix):
        yield "Most frequent mistakes:"
        rows = [
            (escape_markdown(actual), escape_markdown(other), f"{count} of {total}")
            for actual, other, count, total in pairs[:_CONFUSED]
        ]
        yield _write_table(("actual", "predicted", "images"), rows)


def _describe_data(card: Card, terms: str, origin: Origin) -> Iterator[str]:
    counts = ", ".join(f"{count} {split}" for split, count in origin.images.items())
    source = card.data.get("source") or origin.source
    terms_of_images = escape_markdown(card.data.get("license", "not recorded"))
    yield f"Images: {escape_markdown(source)} ({counts}); license: {terms_of_images}."
    yield escape_markdown(origin.weights)
    yield f"This model: {'no license was chosen' if terms == 'unknown' else terms}."


def _describe_limits(card: Card, measured: Measured) -> Iterator[str]:
    scores = measured.scores
    told = f"; the output `{DISTANCE}` of {FILES['onnx']} is above 1 where it is unlike all that was learned"
    yield f"It answers with one of the {len(card.classes)} classes whatever an image shows{told * bool(card.unknown)}."
    yield (
        f"It was measured on {scores['test_images']} images from the data set that it learned from. On images from "
        f"elsewhere, expect less."
    )
    yield (
        "The intervals cover the choice of the test images, not the variation between trainings on other images or "
        "from other random weights."
    )
    error = format_percent(scores["finetuned"]["calibration_error"])
    yield f"Its confidence differs from its accuracy by {error} points on average (expected calibration error)."
    if untested := measured.per_class.loc[measured.per_class["images"] == 0, "class"].tolist():
        yield f"Without a test image, and so not measured: {', '.join(map(escape_markdown, untested))}."


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence[:1].upper()}{sentence[1:]}" for sentence in sentences)


def _write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
