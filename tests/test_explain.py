"""Where a model looks: class activation maps add up to the logits, and occlusion finds what a prediction rests on."""

import io
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from stages.compute.graphs.session import Graph
from stages.explain.class_activation import find_classifier
from stages.explain.explainer import Explainer
from stages.explain.occlusion import log_odds, occlude
from stages.explain.overlay import draw_evidence, frame
from stages.images.contract import Contract

CONTRACT = Contract(size=16, channels=3, form="photo", polarity="light_on_dark", fit="stretch")


def no_prediction(pixels: np.ndarray) -> np.ndarray:
    raise AssertionError("a class activation map takes no prediction")


def run(model: onnx.ModelProto, tensor: str, pixels: np.ndarray) -> np.ndarray:
    """Return any tensor of a graph."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.output[:]
    part.graph.output.append(onnx.ValueInfoProto(name=tensor))
    return Graph(part, len(pixels))(pixels)[tensor]


def network(pooling: str, output: str = "softmax", hidden: tuple[int, ...] = ()) -> onnx.ModelProto:
    """Return a miniature with a head as a graph from pixels to logits."""
    from stages.compute.graphs.convert import convert
    from stages.compute.networks import build_head, build_network
    from stages.compute.runtime import start
    from tests.helpers.miniature import as_backbone, miniature

    start(seed=0)
    backbone = as_backbone(miniature(channels=3))
    head = build_head(backbone.architecture.features(pooling), classes=2, output=output, hidden=hidden)
    head.get_layer("classifier").bias.assign([0.5, -1.0][: head.get_layer("classifier").units])
    return convert(build_network(backbone, pooling, head))


def exported(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], last: bool) -> onnx.ModelProto:
    """Return a graph of another program's making, with three classes."""
    shape = ["n", 16, 16, 3] if last else ["n", 3, 16, 16]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3])
    nodes = [helper.make_node("Cast", ["pixels"], ["maps"], to=TensorProto.FLOAT), *nodes]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "other", [pixels], [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def gemm() -> onnx.ModelProto:
    """Return what PyTorch writes: pooling, flattening and a Gemm with a transposed matrix."""
    draw = np.random.default_rng(0)
    nodes = [
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["out"]),
    ]
    return exported(nodes, {name: draw.normal(size=s).astype("f") for name, s in (("w", (3, 3)), ("b", 3))}, False)


def scaled() -> onnx.ModelProto:
    """Return a graph whose logits are features, scaled and shifted."""
    nodes = [
        helper.make_node("ReduceMean", ["maps", "axes"], ["pooled"], keepdims=0),
        helper.make_node("Sub", ["pooled", "shift"], ["shifted"]),
        helper.make_node("Div", ["shifted", "scale"], ["logits"]),
        helper.make_node("Identity", ["logits"], ["out"]),
    ]
    weights = {"axes": np.array([1, 2]), "shift": np.array([1, 2, 3], "f"), "scale": np.array(50, "f")}
    return exported(nodes, weights, True)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: network("average"), id="average"),
        pytest.param(lambda: network("max"), id="max"),
        pytest.param(lambda: network("none"), id="flattened"),
        pytest.param(lambda: network("average", "sigmoid"), id="sigmoid"),
        gemm,
        scaled,
    ],
)
def test_the_mean_of_a_map_and_the_bias_are_the_logit(make: Callable[[], onnx.ModelProto]) -> None:
    model = make()
    shape = [one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim][1:]
    pixels = np.random.default_rng(1).integers(0, 256, (4, *shape), dtype=np.uint8)
    classifier = find_classifier(model)
    assert classifier
    maps = classifier.locate(run(model, classifier.tensor, pixels))
    name = "logits" if any("logits" in node.output for node in model.graph.node) else model.graph.output[0].name
    logits = run(model, name, pixels)
    assert np.ptp(logits, axis=0).max() > 0.01
    assert maps.mean(axis=(1, 2)) + classifier.bias == pytest.approx(logits, rel=1e-4, abs=1e-4)
    shown = Explainer(model, no_prediction, 4).locate(pixels[0], np.arange(logits.shape[1]))
    assert shown.sum(axis=0) == pytest.approx(np.zeros(shown.shape[1:]), abs=1e-4)  # relative to the mean of all


def test_a_hidden_layer_is_explained_by_occlusion() -> None:
    model = network("average", hidden=(4,))
    assert find_classifier(model) is None
    assert Explainer(model, no_prediction, 4).method == "occlusion"


def test_occlusion_finds_what_the_prediction_rests_on() -> None:
    def predict(pixels: np.ndarray) -> np.ndarray:
        """Look for something bright at the top right; be nearly sure of it."""
        logits = pixels[:, :4, 12:].mean(axis=(1, 2, 3)) / 10.0
        return np.stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))], axis=1).astype(np.float32)

    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:4, 12:] = 255
    other, bright = occlude(pixels, np.array([0, 1]), predict, 10)
    assert bright.shape == (8, 8)
    assert (bright[:2, 6:] > 5).all()
    assert np.abs(bright[4:, :4]).max() == 0
    assert other == pytest.approx(-bright, abs=1e-4)


def test_odds_are_told_apart_where_a_probability_is_rounded_to_one() -> None:
    odds = log_odds(np.array([[1, 1e-12, 1e-13], [1, 1e-14, 1e-15]], np.float32))
    assert odds[1, 0] - odds[0, 0] == pytest.approx(np.log(100), rel=1e-3)


def test_evidence_is_bright_on_a_gray_picture() -> None:
    maps = np.full((2, 2, 2), -1.0)
    maps[0, 0, 1] = 3.0
    strong, none = (np.asarray(one, int) for one in draw_evidence(Image.new("RGB", (80, 80), (60, 90, 120)), maps))
    assert (none.max(axis=2) == none.min(axis=2)).all()
    bright = strong[:20, 60:].mean(axis=(0, 1))
    assert bright[0] > bright[2] + 80
    assert strong[60:, :20].std() < 1


@pytest.mark.parametrize(("fit", "size"), [("stretch", (40, 20)), ("crop", (20, 20)), ("pad", (40, 40))])
def test_the_picture_is_the_part_that_the_network_sees(fit: str, size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 200), "red").save(buffer, "PNG")
    contract = Contract(16, 3, "photo", "light_on_dark", fit)  # type: ignore[arg-type]
    assert frame(buffer.getvalue(), contract, 40 if fit != "crop" else 20).size == size
