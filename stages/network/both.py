"""Predict with the head-only and the fine-tuned model: the frozen part runs once for both, and is not run again.

What it puts out is kept in a folder outside of a stage's outs, which DVC deletes before a run: the next experiment with
the same frozen part and images starts from there. Where it would take half of the free disk, it is not kept.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from shutil import disk_usage

import keras
import numpy as np

from stages.base.ahead import ahead
from stages.base.stage import say
from stages.network import build
from stages.network.fold import fold
from stages.network.forward import Forward
from stages.network.kept import FEATURES, PIXELS, Rows, StoredRows
from stages.network.resume import fingerprint
from stages.network.store import ModelInfo, read_model


@dataclass(frozen=True)
class Both:
    """The two models, in the parts that differ and the part that does not.

    Attributes:
        info: classes, contract and cut of both.
        bottom: pixels -> what ``info.cut`` keeps.
        head: features -> logits of the head-only model.
        top: the first of what is kept -> logits of the fine-tuned model.
        mark: of what ``bottom`` computes.
    """

    info: ModelInfo
    bottom: keras.Model
    head: keras.Model
    top: keras.Model
    mark: str


def read_both(folder: Path, precision: str) -> Both:
    """Read both models from where ``finetune`` wrote them, to compute in ``precision``.

    Raises:
        UserError: they are not there.
    """
    (head, info), (tuned, _) = (read_model(folder, which) for which in ("head", "finetuned"))
    cut = info.cut
    backbone, tuned_backbone = (build.compute_in(model.get_layer(cut.backbone), precision) for model in (head, tuned))
    mark = hashlib.sha256(json.dumps([asdict(info), backbone.to_json()]).encode())
    for value in backbone.get_weights():
        mark.update(value.tobytes())
    bottom = build.bottom(backbone, cut.preprocessing, cut.kept, cut.pooling, fold)
    top, kept = tuned.layers[-1], cut.kept[0]
    if kept != FEATURES:
        top = build.top(tuned_backbone, cut.preprocessing, None if kept == PIXELS else kept, cut.pooling, top)
    return Both(info, bottom, head.layers[-1], top, mark.hexdigest())


def predict(
    both: Both, pixels: Iterable[np.ndarray], count: int, batch_size: int | str, keep: Path, images: Path
) -> dict[str, np.ndarray]:
    """Return the logits (count, classes) of the ``head`` and the ``finetuned`` model.

    Args:
        pixels: of ``count`` images; not touched where what the frozen part makes of them is in ``keep`` already.
        batch_size: images at a time; see ``Forward``.
        keep: folder for that.
        images: file that the pixels are from.
    """
    bottom = Forward(both.bottom, batch_size)
    head, top = (Forward(model, bottom.batch_size) for model in (both.head, both.top))
    logits: dict[str, list[np.ndarray]] = {"head": [], "finetuned": []}
    mark = fingerprint({"frozen": both.mark}, [images])
    for outputs in _outputs(bottom, iter(pixels), count, keep, mark):
        logits["head"].append(head(outputs[FEATURES]))
        logits["finetuned"].append(top(outputs[both.info.cut.kept[0]]))
    return {name: np.concatenate(parts) for name, parts in logits.items()}


def _outputs(
    bottom: Forward, pixels: Iterator[np.ndarray], count: int, keep: Path, mark: str
) -> Iterator[dict[str, np.ndarray]]:
    """Go through the outputs of the frozen part, batch by batch."""
    size, file = bottom.batch_size, keep / "run.json"
    if file.exists() and file.read_text(encoding="utf-8") == mark:
        say("what the frozen part makes of these images is known: it does not run again")
        stored = {path.stem: StoredRows(path) for path in keep.glob("*.npy")}
        for start in range(0, count, size):
            places = np.arange(start, min(start + size, count))
            yield {name: rows[places] for name, rows in stored.items()}
        return
    shutil.rmtree(keep, ignore_errors=True)
    keep.mkdir(parents=True)
    files: dict[str, Rows] = {}
    for batch in ahead(iter(lambda: list(islice(pixels, size)), []), 2):
        outputs = bottom(np.stack(batch))
        if not files and count * sum(output[0].nbytes for output in outputs.values()) < disk_usage(keep).free / 2:
            files = {name: Rows(keep / f"{name}.npy", count) for name in outputs}
        for name, rows in files.items():
            rows.add(outputs[name])
        yield outputs
    if files:
        file.write_text(mark, encoding="utf-8")
