"""Where a model looks: class activation maps if it ends in pooled feature maps and a linear head, else occlusion."""

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx

from stages.compute.graphs.session import Graph
from stages.explain.class_activation import find_classifier
from stages.explain.occlusion import occlude

Predict = Callable[[np.ndarray], np.ndarray]


class Explainer:
    """Makes maps of what in an image speaks for a class.

    Attributes:
        method: ``class activation`` or ``occlusion``.
    """

    def __init__(self, model: onnx.ModelProto | None, predict: Predict, batch_size: int) -> None:
        """Look for class activation maps in the graph.

        Args:
            model: from uint8 pixels to logits or probabilities; None if it is not an ONNX graph.
            predict: returns probabilities (n, classes) for pixels (n, side, side, channels).
            batch_size: images at a time.
        """
        self._classifier = find_classifier(model) if model else None
        self._occlude = partial(occlude, predict=predict, batch_size=batch_size)
        if model and self._classifier:
            part = onnx.ModelProto()
            part.CopyFrom(model)
            del part.graph.output[:]
            part.graph.output.append(onnx.ValueInfoProto(name=self._classifier.tensor))
            self._graph = Graph(part, 1)
            shape = [one.dim_value or 1 for one in model.graph.input[0].type.tensor_type.shape.dim]
            if self._run(np.zeros(shape, np.uint8)).ndim != 4:  # tokens of a transformer
                self._classifier = None
        self.method = "class activation" if self._classifier else "occlusion"

    def locate(self, pixels: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return a map for each of ``targets``.

        A class activation map shows the logit minus the mean of all classes' logits, since only differences between
        logits matter. An occlusion map shows log-odds.

        Args:
            pixels: an image, uint8 (side, side, channels).
            targets: int (k,), classes.

        Returns:
            float64 (k, h, w); what is above zero speaks for the class.
        """
        if self._classifier is None:
            return self._occlude(pixels, targets)
        found = self._classifier.locate(self._run(pixels[None]))[0]
        return np.asarray(np.moveaxis(found - found.mean(axis=-1, keepdims=True), -1, 0)[targets])

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        return next(iter(self._graph(pixels).values()))
