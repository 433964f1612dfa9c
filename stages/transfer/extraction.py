"""The frozen pass: from images to what is stored of each of their views, here or on a cluster, with the same bytes."""

import errno
import math
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stages.base.errors import UserError
from stages.base.processor import describe_processor
from stages.base.resume import find_kept, fingerprint, resume_folder
from stages.base.terminal import say, show_progress
from stages.base.versions import list_installed
from stages.cluster.cluster import Cluster
from stages.compute.architecture import FEATURES, GRAPH, NETWORK, PIXELS
from stages.compute.backend import choose_backend
from stages.images.augment import Augment
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.mixup import WINDOW, View, make_views
from stages.images.split_file import SplitFile
from stages.transfer.activations import cast
from stages.transfer.feature_extractor import FeatureExtractor, open_feature_extractor
from stages.transfer.row_files import RowFiles

Arrays = dict[str, np.ndarray]
Span = tuple[int, int]  # the first image, and the one after the last
_NO_TARGET = np.empty(0)


@dataclass(frozen=True)
class FrozenPass:
    """What is computed of each image. Plain values, so that another machine can compute it.

    Attributes:
        pretrain: folder that ``pretrain`` wrote.
        outputs: see ``open_feature_extractor``.
        pooling: likewise.
        contract: how an image file becomes pixels.
        backend: of Keras.
        runner: see ``open_feature_extractor``.
        computes: the precision of the computation, float32 or bfloat16.
        stored: dtype of the stored activations.
        augment: limits of the augmented views; None: the image itself is the only view.
        views: of each image.
        classes: how many.
        seed: of the views.
    """

    pretrain: Path
    outputs: list[str]
    pooling: str
    contract: Contract
    backend: str
    runner: str | None = None
    computes: str = "float32"
    stored: str = "float32"
    augment: Augment | None = None
    views: int = 1
    classes: int = 0
    seed: int = 0

    @property
    def mixes(self) -> bool:
        """Whether views are mixed, so that their targets are stored instead of labels."""
        return self.augment is not None and self.augment.mixes

    def open(self) -> FeatureExtractor:
        """Return the frozen part, ready to run."""
        return open_feature_extractor(self.pretrain, self.outputs, self.pooling, self.runner, self.computes)

    def run(self, extractor: FeatureExtractor, images: Iterator[bytes], labels: np.ndarray) -> Iterator[Arrays]:
        """Yield what is stored of the views, batch by batch: arrays by name, and "targets" if views are mixed.

        Args:
            extractor: from ``open``.
            images: contents of image files; the first begins a window of mixup.
            labels: of the images.
        """
        targets = deque[np.ndarray]()
        pixels = load_all(images, self.contract)
        views: Iterator[View]
        if self.augment is None:
            views = ((image, _NO_TARGET) for image in pixels)
        else:
            views = make_views(pixels, labels, self.views, self.classes, self.augment, self.seed)

        def batches() -> Iterator[np.ndarray]:
            for batch in iter(lambda: list(islice(views, extractor.batch_size)), []):
                if self.mixes:
                    targets.append(np.stack([target for _, target in batch]))
                yield np.stack([pixels for pixels, _ in batch])

        for outputs in extractor.run_batches(batches()):
            arrays = {
                name: values if name in (PIXELS, FEATURES) else cast(values, self.stored)
                for name, values in outputs.items()
            }
            yield arrays | ({"targets": targets.popleft()} if self.mixes else {})


def write_views(
    frozen: FrozenPass,
    extractor: FeatureExtractor,
    split: SplitFile,
    name: str,
    files: RowFiles,
    cluster: Cluster | None = None,
) -> None:
    """Write the arrays of all views of a split; what an interrupted run has written is kept.

    Args:
        frozen: the pass.
        extractor: from ``frozen.open``.
        split: the images.
        name: of the split.
        files: to write to, with a row for each view.
        cluster: that computes; None: this machine.
    """
    # Chunks of whole windows of mixup and whole batches: whoever computes them, each view is in the same batch.
    size = math.lcm(WINDOW, extractor.batch_size)
    spans = [(first // frozen.views, last // frozen.views) for first, last in files.find_missing(size * frozen.views)]
    if (left := sum(last - first for first, last in spans)) < len(split):
        say(f"resuming: {len(split) - left} of {len(split)} {name} images are done")
    images = iter(show_progress(_read(split, spans), f"{name} images", left))
    if cluster:
        results = _compute_on(cluster, frozen, extractor, images, split.labels(), spans, size)
    else:
        results = _compute_here(frozen, extractor, images, split.labels(), spans)
    for row, arrays in results:
        files.write(row, arrays)


def _read(split: SplitFile, spans: Sequence[Span]) -> Iterator[bytes]:
    for first, last in spans:
        yield from split.images(first, last)


def _compute_here(
    frozen: FrozenPass, extractor: FeatureExtractor, images: Iterator[bytes], labels: np.ndarray, spans: Sequence[Span]
) -> Iterator[tuple[int, Arrays]]:
    for first, last in spans:
        row = first * frozen.views
        for arrays in frozen.run(extractor, islice(images, last - first), labels[first:last]):
            yield row, arrays
            row += len(next(iter(arrays.values())))


def _compute_on(
    cluster: Cluster,
    frozen: FrozenPass,
    extractor: FeatureExtractor,
    images: Iterator[bytes],
    labels: np.ndarray,
    spans: Sequence[Span],
    size: int,
) -> Iterator[tuple[int, Arrays]]:
    contents = {path.name: path.read_bytes() for path in frozen.pretrain.iterdir()}
    job = _ChunkJob(frozen, contents, (extractor.device, extractor.batch_size))

    def chunks() -> Iterator[tuple[int, tuple[list[bytes], np.ndarray]]]:
        for first, end in spans:
            for start in range(first, end, size):
                last = min(start + size, end)
                yield start * frozen.views, (list(islice(images, last - start)), labels[start:last])

    return cluster.map(job, chunks())


@dataclass(frozen=True)
class _ChunkJob:
    """The frozen pass over a few images at a time, as a worker of a cluster computes it.

    Attributes:
        frozen: the pass.
        pretrain: the files that ``pretrain`` wrote, by name.
        expected: device and batch size on the machine that asks for it.
    """

    frozen: FrozenPass
    pretrain: Mapping[str, bytes]
    expected: tuple[str, int]

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """The frozen part, opened by the first call."""
        choose_backend(self.frozen.backend, self.frozen.computes)
        with TemporaryDirectory() as folder:
            for name, content in self.pretrain.items():
                (Path(folder) / name).write_bytes(content)
            extractor = replace(self.frozen, pretrain=Path(folder)).open()
        if (extractor.device, extractor.batch_size) != self.expected:
            raise UserError(
                f"the frozen part runs in {self.expected[0]} here and in {extractor.device} on the workers, which use "
                "no GPU. Set CUDA_VISIBLE_DEVICES= (nothing) to compute without one."
            )
        return extractor

    def __call__(self, chunk: tuple[list[bytes], np.ndarray]) -> Arrays:
        images, labels = chunk
        batches = list(self.frozen.run(self.extractor, iter(images), labels))
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def describe_run(
    frozen: FrozenPass, extractor: FeatureExtractor, splits: Sequence[SplitFile], cluster: Cluster | None
) -> str:
    """Return what the results depend on, as text: see ``stages.base.resume.fingerprint``.

    Args:
        frozen: the pass.
        extractor: from ``frozen.open``.
        splits: that it runs over.
        cluster: that computes; None: this machine.
    """
    values = {**asdict(frozen), "augment": frozen.augment and frozen.augment.model_dump(), "pretrain": ""}
    params = [values, [split.digest() for split in splits]]
    kind = cluster.processor if cluster else describe_processor()
    inputs = [frozen.pretrain / NETWORK, frozen.pretrain / GRAPH]  # the graph holds the weights, too
    return fingerprint(params, inputs, list_installed(), [extractor.device, kind])


@contextmanager
def keep_rows(folder: Path, working: Path, mark: str) -> Iterator[Path]:
    """Yield the folder to write rows to, from which the same run resumes if it is interrupted.

    Args:
        folder: the output folder; what is kept lies beside it.
        working: its working folder, for the rows if nothing can be kept.
        mark: from ``describe_run``.
    """
    with resume_folder(find_kept(folder), mark) as rows:
        try:
            yield rows or working
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # what is kept would keep the disk full
                shutil.rmtree(find_kept(folder), ignore_errors=True)
            raise


def measure_free(folder: Path) -> int:
    """Return how many bytes an output folder may take: the free ones, and those that an interrupted run has taken."""
    kept = sum(path.stat().st_blocks * 512 for path in find_kept(folder).glob("*"))
    return shutil.disk_usage(folder.parent).free + kept
