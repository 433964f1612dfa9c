"""Run an exported model of any format, importing only the runtime that it needs.

python -m stages predict photo.jpg      the command that does so
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.base.errors import UserError, summarize
from stages.compute.exported import DISTANCE, OUTPUT, Run, open_keras, open_litert, open_onnx, open_saved_model
from stages.compute.native_logs import silence_native_logs
from stages.formats.card import FILES, read_card, split_name

if TYPE_CHECKING:
    import onnx

_OPENERS = {"onnx": open_onnx, "litert": open_litert, "keras": open_keras, "saved_model": open_saved_model}

# Images at a time, which bounds the memory for the feature maps of a large network.
BATCH = 16


class Runner:
    """An exported model, ready to run.

    Attributes:
        classes: names, in the order of the probabilities.
        contract: how an image file becomes pixels.
        format: the one that it runs.
    """

    def __init__(self, folder: Path, which: str | None = None, threads: int | None = None) -> None:
        """Open the first available format whose runtime is installed, in the order of FILES.

        Args:
            folder: as the export stage writes it.
            which: only this format.
            threads: that share the work for a batch; None: as many as the runtime chooses.

        Raises:
            UserError: there is no such folder, its files are missing or broken, or do not fit its ``model.json``.
        """
        card = read_card(folder)
        self.classes, self.contract = card.classes, card.contract
        wanted = card.formats if which is None else [which]
        there = [name for name in wanted if (folder / FILES[name]).exists()]
        if not there:
            files = ", ".join(FILES[name] for name in wanted)
            raise UserError(f"{folder}: expected {files} beside model.json, received none. Run `dvc pull`.")
        self.format, self._run = _open_first(folder, there, threads)
        self._folder = folder
        self._try_out(folder / FILES[self.format])

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability of each class.

        Args:
            pixels: uint8 (n, size, size, channels), as ``stages.images.load`` makes them with the model's contract.

        Returns:
            float32 (n, classes).
        """
        return self.predict(pixels)[0]

    def predict(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the probabilities, and how far each image is from all that was learned; None if no output says so.

        Args:
            pixels: as ``probabilities`` takes them.

        Returns:
            float32 (n, classes) and (n,). Above 1, an image is unknown.
        """
        found = [self._run(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        probabilities = [np.empty((0, len(self.classes)), np.float32), *(each[OUTPUT] for each in found)]
        distances = [each[DISTANCE] for each in found if DISTANCE in each]
        return np.concatenate(probabilities), np.concatenate(distances) if distances else None

    @property
    def graph(self) -> "onnx.ModelProto | None":
        """The model as a graph; None if its format is another."""
        if self.format != "onnx":
            return None
        from stages.compute.graphs.edit import read  # here: it imports onnx, which predicting does not need

        return read(self._folder / FILES["onnx"])

    def _try_out(self, path: Path) -> None:
        size, channels, classes = self.contract.size, self.contract.channels, len(self.classes)
        try:
            with silence_native_logs():  # LiteRT prints about its kernels the first time it runs
                outputs = self._run(np.zeros((1, size, size, channels), np.uint8))
                fits = outputs[OUTPUT].shape == (1, classes)
        except Exception:  # each runtime has its own error for a wrong shape
            fits = False
        if not fits:
            raise UserError(
                f"{path}: expected the model that model.json describes, from uint8 (n, {size}, {size}, {channels}) "
                f"to {classes} classes; received another one. Run `dvc repro export`, or `dvc checkout`."
            )


def _open_first(folder: Path, formats: list[str], threads: int | None) -> tuple[str, Run]:
    without = []
    for name in formats:
        try:
            return name, _open(name, folder / FILES[name], threads)
        except ImportError as error:
            without.append(f"{name} needs {error.name}")
    raise UserError(f"{folder}: no runtime installed for its formats ({'; '.join(without)}). Run `pip install -e .`.")


def _open(name: str, path: Path, threads: int | None) -> Run:
    with silence_native_logs():
        try:
            return _OPENERS[split_name(name)[0]](path, threads)
        except ImportError:
            raise
        except Exception as error:  # each runtime has its own error for a broken file
            failure = UserError(
                f"{path}: expected a model of the format {name}, received a file that cannot be read as one "
                f"({summarize(error)}). Run `dvc repro export`, or `dvc checkout`."
            )
    raise failure from None
