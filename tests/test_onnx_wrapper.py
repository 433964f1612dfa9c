"""ONNX networks that other libraries exported: outputs, layouts and batch sizes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stages.backbones.onnx_wrapper import WrappedNetwork, wrap_network
from stages.backbones.pixel_scaling import Scaling
from stages.base.errors import UserError
from stages.compute.graphs.edit import cut
from stages.compute.graphs.session import Graph
from tests.helpers.onnx_networks import CHANNELS, KERNEL, PATCH, SIDE, make_model, make_network, node, run_network

UNIT = Scaling((1 / 255,), (0.0,))
NORMALIZED = Scaling((0.02, 0.01, 0.03), (-2.0, -1.0, 0.5))
PIXELS = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


def features(wrapped: WrappedNetwork, how: str, batch_size: int = 4) -> np.ndarray:
    name = f"features_{how}"
    return Graph(cut(wrapped.graph, [name]), batch_size)(PIXELS)[name]


def refused(model: onnx.ModelProto, output: str | None = None, side: int = SIDE, scaling: Scaling = UNIT) -> str:
    with pytest.raises(UserError) as found:
        wrap_network(model, side, scaling, output)
    assert "\n" not in str(found.value)
    return str(found.value)


def convolution(**options: object) -> onnx.ModelProto:
    """Return a network of a single convolution."""
    nodes = [node("Conv", ["image", "kernel"], "maps", strides=[PATCH, PATCH])]
    return make_model(nodes, ["maps"], {"kernel": KERNEL}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [("batch", 3, SIDE, SIDE), ("n", SIDE, SIDE, 3)], ids=["first", "last"])
@pytest.mark.parametrize("scaling", [UNIT, NORMALIZED], ids=["unit", "normalized"])
def test_pixels_are_scaled_and_laid_out_as_the_network_expects(shape: tuple[int | str, ...], scaling: Scaling) -> None:
    wrapped = wrap_network(make_network("maps", shape), SIDE, scaling, None)
    expected = run_network(PIXELS * np.float32(scaling.scale) + np.float32(scaling.offset))["maps"]
    assert wrapped.architecture.pixels == (SIDE, SIDE, 3)
    np.testing.assert_allclose(features(wrapped, "average"), expected.mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("output", ["maps", "maps_last"])
def test_feature_maps_are_pooled_as_those_of_keras_are(output: str) -> None:
    wrapped = wrap_network(make_network(output), SIDE, UNIT, None)
    expected = run_network(PIXELS / np.float32(255))["maps"]
    assert wrapped.architecture.shape("network") == (4, 4, CHANNELS)
    assert wrapped.output == f"{output}, feature maps of 4 x 4 x {CHANNELS}"
    assert [each.name for each in wrapped.graph.graph.output] == ["features_average", "features_max", "features_none"]
    np.testing.assert_allclose(features(wrapped, "average"), expected.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(features(wrapped, "max"), expected.max((1, 2)), atol=1e-5)
    np.testing.assert_allclose(features(wrapped, "none"), expected.reshape(5, -1), atol=1e-5)


def test_tokens_are_pooled_and_the_first_can_be_taken() -> None:
    wrapped = wrap_network(make_network("tokens"), SIDE, UNIT, None)
    expected = run_network(PIXELS / np.float32(255))["tokens"]
    assert wrapped.architecture.shape("network") == (17, CHANNELS)
    for how, values in {
        "average": expected.mean(1),
        "max": expected.max(1),
        "none": expected.reshape(5, -1),
        "first": expected[:, 0],
    }.items():
        np.testing.assert_allclose(features(wrapped, how), values, atol=1e-5, err_msg=how)


def test_a_vector_is_taken_as_it_is() -> None:
    wrapped = wrap_network(make_network("vector"), SIDE, UNIT, None)
    expected = run_network(PIXELS / np.float32(255))["vector"]
    for how in ("average", "max", "none"):
        np.testing.assert_allclose(features(wrapped, how), expected, atol=1e-5)


def test_a_tensor_inside_can_be_the_output() -> None:
    wrapped = wrap_network(make_network("vector"), SIDE, UNIT, "tokens")
    assert wrapped.architecture.shape("network") == (17, CHANNELS)
    assert "ReduceMean" not in {each.op_type for each in wrapped.graph.graph.node}
    said = refused(make_network("vector"), "tokenz")
    assert said == (
        "pretrain.output: expected an output of the network (vector) or a tensor in it; received tokenz. "
        "Did you mean tokens?"
    )


def test_of_several_outputs_one_must_be_named() -> None:
    model = make_network("tokens vector")
    assert refused(model) == (
        "it has several outputs: tokens (n, 17, 6), vector (n, 6). Set pretrain.output to one of them."
    )
    assert wrap_network(model, SIDE, UNIT, "vector").output == "vector, 6 numbers"


def test_names_of_dimensions_say_where_the_channels_are() -> None:
    """As Hugging Face's optimum exports them."""
    model = make_network("maps", ("batch_size", "num_channels", "height", "width"))
    assert wrap_network(model, SIDE, NORMALIZED, None).architecture.pixels == (SIDE, SIDE, 3)
    said = refused(make_network("maps", ("batch", "a", "b", "c")))
    assert "image is declared as (batch, a, b, c)" in said
    assert said.endswith("Export it with a fixed image shape, such as (n, 3, 224, 224).")


def test_a_gray_network() -> None:
    kernel = {"kernel": KERNEL[:, :1]}
    nodes = [node("Conv", ["image", "kernel"], "maps", strides=[PATCH, PATCH])]
    model = make_model(nodes, ["maps"], kernel, ("n", 1, SIDE, SIDE))
    assert wrap_network(model, SIDE, UNIT, None).architecture.pixels == (SIDE, SIDE, 1)
    assert refused(model, scaling=NORMALIZED) == "pretrain.pixels: expected mean and std for 1 channel; received 3."


def test_another_image_size_than_the_network_expects_is_refused() -> None:
    assert refused(make_network(), side=32) == (
        "pretrain.image_size: this network expects images of 16 pixels; received 32. Set it to 16, or export the "
        "network for 32."
    )
    model = make_network("maps", ("n", 3, "h", "w"))
    assert wrap_network(model, 32, UNIT, None).architecture.shape("network") == (8, 8, CHANNELS)
    assert "square" in refused(make_network("maps", ("n", 3, 16, 32)))


def test_a_fixed_batch_is_opened_if_the_network_allows_it() -> None:
    wrapped = wrap_network(convolution(shape=(1, 3, SIDE, SIDE)), SIDE, UNIT, None)
    np.testing.assert_array_equal(
        features(wrapped, "none"), features(wrap_network(convolution(), SIDE, UNIT, None), "none")
    )

    for place, number in enumerate(([1, -1, CHANNELS], [-1, 16, CHANNELS])):  # torch writes the batch into reshapes
        nodes = [
            node("Conv", ["image", "kernel"], "maps", strides=[PATCH, PATCH]),
            node("Transpose", ["maps"], "last", perm=(0, 2, 3, 1)),
            node("Reshape", ["last", "shape"], "tokens"),
        ]
        model = make_model(nodes, ["tokens"], {"kernel": KERNEL, "shape": np.array(number)}, (1, 3, SIDE, SIDE))
        if place == 0:
            assert "it was exported with a fixed batch size of 1" in refused(model)
        else:
            assert wrap_network(model, SIDE, UNIT, None).output == "tokens, 16 tokens of 6 numbers"


def test_a_network_that_mixes_images_is_refused() -> None:
    """As BatchNormalization in training mode does."""
    nodes = [
        node("Conv", ["image", "kernel"], "maps", strides=[PATCH, PATCH]),
        node("ReduceMean", ["maps", "over"], "mean", keepdims=1),
        node("Sub", ["maps", "mean"], "centered"),
    ]
    model = make_model(nodes, ["centered"], {"kernel": KERNEL, "over": np.array([0, 2, 3])})
    assert refused(model) == ("its output for an image depends on the rest of the batch. Export it in inference mode.")


def test_a_random_network_is_refused() -> None:
    nodes = [
        node("Conv", ["image", "kernel"], "maps", strides=[PATCH, PATCH]),
        node("RandomNormalLike", ["maps"], "noise"),
        node("Add", ["maps", "noise"], "noisy"),
    ]
    assert "its output changes from run to run" in refused(make_model(nodes, ["noisy"], {"kernel": KERNEL}))


def test_float16_is_cast() -> None:
    nodes = [node("Conv", ["image", "kernel"], "maps", strides=[PATCH, PATCH])]
    model = make_model(nodes, ["maps"], {"kernel": KERNEL.astype(np.float16)}, kind=TensorProto.FLOAT16)
    found = features(wrap_network(model, SIDE, UNIT, None), "average")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, run_network(PIXELS / np.float32(255))["maps"].mean((1, 2)), atol=2e-3)


def test_an_old_opset_is_converted_and_a_new_one_stays() -> None:
    for opset, found in ((11, 17), (17, 17), (21, 21)):
        wrapped = wrap_network(convolution(opset=opset), SIDE, UNIT, None)
        assert [each.version for each in wrapped.graph.opset_import] == [found]
        np.testing.assert_allclose(
            features(wrapped, "average"), run_network(PIXELS / np.float32(255))["maps"].mean((1, 2)), atol=1e-5
        )


def test_other_inputs_are_refused() -> None:
    model = make_network()
    model.graph.input.append(helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", 77]))
    assert refused(model) == (
        "expected one input, for images; received 2 (image, input_ids). Export the image encoder only."
    )
    model = make_network()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    assert refused(model) == "expected a floating-point or uint8 input; image is int64."
    assert "image is declared as (n, 784)" in refused(make_network("maps", ("n", 784)))


def test_without_an_output_of_numbers_it_is_refused() -> None:
    model = make_network()
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    assert refused(model).endswith("or vectors (n, channels); received none.")


def test_what_the_runtime_does_not_know_is_refused() -> None:
    model = make_network()
    model.graph.node[0].op_type, model.graph.node[0].domain = "Patches", "my.domain"
    model.opset_import.append(helper.make_opsetid("my.domain", 1))
    said = refused(model)
    assert said.startswith("ONNX Runtime 1.32.0 cannot load the network: ")
    assert "Patches" in said


def test_dynamic_quantization_is_refused_and_static_is_not() -> None:
    nodes = [
        node("QuantizeLinear", ["image", "step", "zero"], "small"),
        node("DequantizeLinear", ["small", "step", "zero"], "image_again"),
        node("Conv", ["image_again", "kernel"], "maps", strides=[PATCH, PATCH]),
    ]
    weights = {"kernel": KERNEL, "step": np.float32(1 / 255), "zero": np.uint8(0)}
    model = make_model(nodes, ["maps"], {name: np.asarray(value) for name, value in weights.items()})
    assert wrap_network(model, SIDE, UNIT, None).output == "maps, feature maps of 4 x 4 x 6"
    dynamic = helper.make_node("DynamicQuantizeLinear", ["image"], ["small", "step2", "zero2"])
    model.graph.node[0].CopyFrom(dynamic)
    assert refused(model).startswith("it is quantized dynamically (DynamicQuantizeLinear)")


def test_an_output_does_not_depend_on_the_rest_of_the_batch_and_repeats() -> None:
    first, second = (wrap_network(make_network("tokens"), SIDE, NORMALIZED, None).graph for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    run = Graph(first, 4)
    whole = run(PIXELS)["features_none"]
    for place in range(len(PIXELS)):
        np.testing.assert_array_equal(run(PIXELS[place : place + 1])["features_none"][0], whole[place])


def test_none_of_the_networks_names_gets_in_the_way() -> None:
    model = make_network("vector")
    for old, new in (("maps", "pixels"), ("tokens", "features_average"), ("vector", "scale")):
        for each in model.graph.node:
            for field in (each.input, each.output):
                for place, name in enumerate(field):
                    field[place] = new if name == old else name
    model.graph.output[0].name = "scale"
    expected = features(wrap_network(make_network("vector"), SIDE, UNIT, None), "none")
    np.testing.assert_array_equal(features(wrap_network(model, SIDE, UNIT, None), "none"), expected)
