"""Tell images unlike all that a model has learned: which score finds them, at the price of how many of its own.

    python -m tests.benchmarks.unknown SHARED [--only caltech101 cats_dogs]

SHARED is a folder with datasets/ and mirror/, as head_solver takes it. Models: of eight of Caltech-101's ten classes,
with two others left out in turn (near), and of cats and dogs with three seeds. Foreign to both: photographs of digits,
horses and zebras, plain colors and noise; and the other set. Scores, of which a higher one is less known:

    max softmax       1 minus the highest probability (Hendrycks and Gimpel, ICLR 2017)
    energy            minus the logarithm of the summed exponentials of the logits (Liu et al., NeurIPS 2020)
    neighbor K        distance to the K-th nearest training image, of normalized features (Sun et al., ICML 2022)
    class mean        distance to the nearest class mean, likewise
    Mahalanobis       to the nearest class mean, with one covariance of all classes (Lee et al., NeurIPS 2018), shrunk
                      as Ledoit and Wolf (2004) say, because there are fewer images than features
    and normalized    the same of normalized features (Müller and Hein, ICML 2025)
    relative          the Mahalanobis distance minus that to the mean of all classes (Ren et al. 2021)

All but the first two on the frozen features, and on those that the fine-tuned model computes. The threshold of a score
is the lowest that at least 95 % of n + 1 validation images stay below. Prints lowest, median and highest over the
models: the share of own test images that are lost, the shares of foreign images that are caught, and the median AUROC.
"""

import io
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from PIL import Image
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score

from stages import extract, finetune, split
from stages.compute.architecture import GRAPH, name_features
from stages.compute.graphs.edit import cut, read
from stages.compute.graphs.session import Graph
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.split_file import SplitFile
from stages.measure.predictions import softmax
from stages.transfer.model_pair import join_graphs, read_model_pair
from tests.benchmarks.head_solver import prepare, spread
from tests.benchmarks.measured import processor, table
from tests.helpers.command_line import command_line
from tests.helpers.copies import set_params

LOST = 0.05  # of the own images
SETS = {"caltech101": "caltech101_20", "cats_dogs": "cats_dogs_200"}
FOREIGN = {"horses_zebras": "horses_zebras", "digits": "own_digits"}
OTHER = {"caltech101": "cats_dogs", "cats_dogs": "caltech101_mini"}
MADE = ("plain colors", "noise")
LARGEST = 200  # images of a foreign set
NEIGHBORS = (1, 5, 10)
BATCH = 16
Scores = dict[str, np.ndarray]
Outputs = dict[str, np.ndarray]  # frozen and tuned features, and logits


def main() -> None:
    """Train every model, score all images, and print the tables."""
    parser = command_line(__file__, __doc__, "shared")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    arguments = parser.parse_args()
    shared = arguments.shared.resolve()
    for name in arguments.only:
        found = []
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            prepare(Path(folder), shared, SETS[name])
            set_params(Path(folder), {"finetune": {"head": {"solver": "logistic", "dropout": 0.0}}})
            for changes, images in plan(name, shared / "datasets"):
                set_params(Path(folder), changes)
                keras.utils.clear_session()
                for stage in (split, extract, finetune):
                    stage.main()
                found.append(judge(images))
                print(json.dumps({"set": name, **changes, **found[-1]}), flush=True)
        print(f"{processor()}\n\n{name}, {len(found)} models\n{tabulate(found)}")


def plan(name: str, datasets: Path) -> Iterator[tuple[dict[str, Any], dict[str, list[bytes]]]]:
    """Yield for each model changes of params.yaml, and the foreign images by set."""
    foreign = {words: some(read_folder(datasets / folder)) for words, folder in FOREIGN.items()}
    foreign |= {OTHER[name]: some(read_folder(datasets / OTHER[name])), **make_images()}
    if name == "cats_dogs":
        for seed in (1, 2, 3):
            yield {each: {"seed": seed} for each in ("split", "extract", "finetune")}, foreign
        return
    folder = datasets / "caltech101_mini"
    classes = sorted(each.name for each in folder.iterdir())
    for left_out in zip(classes[::2], classes[1::2], strict=True):
        near = {"left-out classes": list(chain.from_iterable(read_folder(folder / each) for each in left_out))}
        yield {"split": {"classes": [each for each in classes if each not in left_out]}}, near | foreign


def read_folder(folder: Path) -> list[bytes]:
    """Return the images in a folder and below it."""
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


def some(images: list[bytes]) -> list[bytes]:
    """Return up to LARGEST of the images, evenly chosen."""
    return images[:: math.ceil(len(images) / LARGEST)]


def make_images() -> dict[str, list[bytes]]:
    """Return images of one color, the first ones from black to white, and of noise."""
    rng = np.random.default_rng(0)
    grays, colors = np.linspace(0, 255, 10), rng.integers(0, 256, (20, 3))
    plain = [np.full((160, 160, 3), color) for color in (*grays, *colors)]
    noise = [rng.integers(0, 256, (160, 160, 3)) for _ in range(30)]
    return dict(zip(MADE, ([pack(pixels) for pixels in group] for group in (plain, noise)), strict=True))


def pack(pixels: np.ndarray) -> bytes:
    """Return an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def judge(foreign: Mapping[str, list[bytes]]) -> dict[str, dict[str, Any]]:
    """Return for each score the share of own test images lost, and share caught and AUROC of each foreign set."""
    run = open_model()
    own = {name: SplitFile(Path(f"data/split/{name}.parquet")) for name in ("train", "val", "test")}
    outputs = {name: run(file.images()) for name, file in own.items()}
    score = learn(outputs["train"], own["train"].labels())
    scores = {name: score(outputs[name]) for name in ("val", "test")}
    scores |= {name: score(run(images)) for name, images in foreign.items()}
    found: dict[str, dict[str, Any]] = {}
    for name, val in scores["val"].items():
        # Of n + 1 equally likely places, another own image takes one above it with a probability of LOST at most.
        limit = np.sort(val)[math.ceil((len(val) + 1) * (1 - LOST)) - 1]
        test = scores["test"][name]
        found[name] = {"lost": float(np.mean(test > limit))}
        for each in foreign:
            values = scores[each][name]
            known = np.repeat([0, 1], [len(test), len(values)])
            auroc = float(roc_auc_score(known, np.concatenate([test, values])))
            found[name][each] = [float(np.mean(values > limit)), auroc]
    return found


def open_model() -> Callable[[Iterable[bytes]], Outputs]:
    """Return what computes the outputs of images."""
    finetuned, pretrain = Path("data/finetune"), Path("data/pretrain")
    pair = read_model_pair(finetuned)
    joined = join_graphs(finetuned, pretrain)
    features = next(node for node in reversed(joined.graph.node) if node.op_type == "MatMul").input[0]
    joined.graph.output.append(onnx.ValueInfoProto(name=features))
    tuned = Graph(joined, BATCH)
    frozen = Graph(cut(read(pretrain / GRAPH), [name_features(pair.pooling)]), BATCH)
    logits = joined.graph.output[0].name

    def run(images: Iterable[bytes]) -> Outputs:
        pixels = np.stack(list(load_all(images, Contract(**pair.contract))))
        found = tuned(pixels)
        rows = {"frozen": next(iter(frozen(pixels).values())), "tuned": found[features], "logits": found[logits]}
        return {name: values.astype(float) for name, values in rows.items()}

    return run


def learn(train: Outputs, labels: np.ndarray) -> Callable[[Outputs], Scores]:
    """Return a function from outputs to all scores, from those of the training images."""
    learned = {name: learn_features(train[name], labels) for name in ("frozen", "tuned")}

    def score(outputs: Outputs) -> Scores:
        found = {
            "max softmax": 1 - softmax(outputs["logits"]).max(axis=1),
            "energy": -logsumexp(outputs["logits"], axis=1),
        }
        for name, measure in learned.items():
            found |= {f"{kind}, {name}": values for kind, values in measure(outputs[name]).items()}
        return found

    return score


def learn_features(train: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], Scores]:
    """Return a function from features to the scores that use them."""
    bank = normalize(train)
    centers = normalize(class_means(bank, labels))
    to_class, to_class_normalized = (mahalanobis(rows, class_means(rows, labels)[labels]) for rows in (train, bank))
    to_all = mahalanobis(train, train.mean(axis=0))
    means, centered = class_means(train, labels), class_means(bank, labels)

    def measure(rows: np.ndarray) -> Scores:
        unit = normalize(rows)
        distances = np.sort(np.sqrt(np.maximum(0, 2 - 2 * unit @ bank.T)), axis=1)
        nearest = np.stack([to_class(rows - mean) for mean in means]).min(axis=0)
        return {
            **{f"neighbor {k}": distances[:, k - 1] for k in NEIGHBORS},
            "class mean": 1 - (unit @ centers.T).max(axis=1),
            "Mahalanobis": nearest,
            "Mahalanobis, normalized": np.stack([to_class_normalized(unit - mean) for mean in centered]).min(axis=0),
            "relative": nearest - to_all(rows - train.mean(axis=0)),
        }

    return measure


def class_means(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean row of each class."""
    return np.stack([rows[labels == label].mean(axis=0) for label in np.unique(labels)])


def mahalanobis(rows: np.ndarray, means: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from differences to squared distances, by the covariance of ``rows`` around ``means``."""
    precision = np.linalg.inv(ledoit_wolf(rows - means, assume_centered=True)[0])
    return lambda differences: np.asarray(np.einsum("nd,nd->n", differences @ precision, differences))


def normalize(rows: np.ndarray) -> np.ndarray:
    """Return rows of length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def tabulate(found: list[dict[str, dict[str, Any]]]) -> str:
    """Return the table over all models."""
    names = [name for name in found[0]["energy"] if name != "lost"]
    rows = [("%", "own lost", *(f"{name} (AUROC)" for name in names))]
    for score in found[0]:
        lost = spread([100 * one[score]["lost"] for one in found])
        cells = []
        for name in names:
            caught, auroc = zip(*(one[score][name] for one in found), strict=True)
            cells.append(f"{spread([100 * share for share in caught])} ({100 * float(np.median(auroc)):.1f})")
        rows.append((score, lost, *cells))
    return table(rows)


if __name__ == "__main__":
    main()
