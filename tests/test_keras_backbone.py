"""The user's own Keras model as the backbone: what is read, what is refused, and fine-tuning it and exporting it."""

import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages import evaluate, export, extract, extract_test, finetune, pretrain, split
from stages.backbones.keras_backbone import describe_keras_backbone, find_second_scaling, read_keras_backbone
from stages.backbones.pretrained import Pretrained, read_pretrained, write_pretrained
from stages.backbones.source import find_source
from stages.base.errors import UserError
from stages.base.params import read_yaml, validate
from stages.compute.keras_files import save_model
from stages.compute.trainable import LayerFreezer
from stages.measure.predictions import softmax
from stages.schema.pretrain import Pretrain
from stages.tools import check
from stages.transfer.freeze import resolve_freeze
from tests.conftest import PROJECT, Refusal
from tests.helpers.copies import set_params
from tests.helpers.miniature import pictures
from tests.helpers.small import small_project

OWN = {"backbone": "source", "pixels": "0-1", "image_size": 16}


def section(path: Path, **changes: object) -> Pretrain:
    values = read_yaml(PROJECT / "recipes" / "default.yaml")["pretrain"]
    return validate(values | OWN | {"source": str(path)} | changes, "pretrain", Pretrain)


def read(path: Path, **changes: object) -> Pretrained:
    params = section(path, **changes)
    return read_keras_backbone(params, find_source(params).path)


def sequential(library: Any, *middle: Any, side: int = 16, channels: int = 1) -> Any:
    """Return what a tutorial builds, with Keras 2 or 3."""
    known = library.layers
    return library.Sequential(
        [
            library.Input((side, side, channels)),
            *(middle or (known.Conv2D(4, 3, activation="relu", name="conv"),)),
            known.Flatten(name="flatten"),
            known.Dropout(0.2, name="dropout"),
            known.Dense(3, activation="softmax", name="dense"),
        ]
    )


def functional(library: Any, *middle: Callable[[Any], Any], classes: int = 3, activation: str = "softmax") -> Any:
    known = library.layers
    x = image = library.Input((16, 16, 3))
    for step in middle:
        x = step(x)
    x = known.GlobalAveragePooling2D()(x)
    return library.Model(image, known.Dense(classes, activation=activation, name="dense")(x))


def miniature_base(library: Any) -> Any:
    """Return a network to nest in another, with layers of the same names."""
    known = library.layers
    x = image = library.Input((16, 16, 3))
    x = known.Conv2D(4, 3, name="conv")(x)
    x = known.DepthwiseConv2D(3, name="depthwise")(x)
    x = known.BatchNormalization(name="bn")(x)
    x = known.Add(name="add")([x, known.ReLU(6.0, name="relu")(x)])
    return library.Model(image, x, name="base")


def nested(library: Any) -> Any:
    known = library.layers
    base, x = miniature_base(library), library.Input((16, 16, 3))
    y = known.Conv2D(4, 3, name="conv")(base(known.Conv2D(3, 1, name="bn")(x), training=False))
    return library.Model(x, known.Dense(3)(known.GlobalAveragePooling2D()(y)))


def nested_first(library: Any) -> Any:
    known = library.layers
    return library.Sequential([miniature_base(library), known.GlobalAveragePooling2D(), known.Dense(3)])


def nested_with_two_outputs(library: Any) -> Any:
    known = library.layers
    image = library.Input((16, 16, 3))
    first = known.Conv2D(4, 3, name="first")(image)
    base = library.Model(image, [first, known.Conv2D(4, 3, name="second")(first)], name="base")
    x = library.Input((16, 16, 3))
    maps = [known.GlobalAveragePooling2D()(y) for y in base(x)]
    return library.Model(x, known.Dense(3)(known.Add()(maps)))


def vary(model: Any) -> None:
    draw = np.random.default_rng(0)
    model.set_weights([draw.uniform(0.02, 0.12, array.shape).astype(array.dtype) for array in model.get_weights()])


@pytest.fixture(scope="module")
def keras_2() -> Any:
    """Keras 2 (tf_keras); the project itself uses Keras 3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tf_keras

        tf_keras.Sequential([tf_keras.layers.Dense(1)])
    return tf_keras


MODELS: dict[str, tuple[Callable[[Any], Any], int, list[str]]] = {
    "sequential": (lambda k: sequential(k), 2, ["Dropout", "Dense"]),
    "functional": (lambda k: functional(k, k.layers.Conv2D(4, 3)), 3, ["Dense"]),
    "nested": (nested, 9, ["Dense"]),
    "nested first": (nested_first, 7, ["Dense"]),
    "nested, two outputs": (nested_with_two_outputs, 6, ["Dense"]),
    "two activations": (
        lambda k: k.Sequential(
            [k.Input((16, 16, 1)), k.layers.Flatten(), k.layers.Dense(4), k.layers.Activation("softmax")]
        ),
        1,
        ["Dense", "Activation"],
    ),
    "one output": (
        lambda k: functional(k, k.layers.Conv2D(4, 3), classes=1, activation="sigmoid"),
        3,
        ["Dense"],
    ),
    "augmentation": (
        lambda k: sequential(
            k, k.layers.RandomFlip("horizontal"), k.layers.RandomRotation(0.1), k.layers.Rescaling(2.0), channels=3
        ),
        4,
        ["Dropout", "Dense"],
    ),
}


@pytest.mark.parametrize("written", ["model.keras", "model.h5", "keras 2"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_backbone_and_its_classifier_are_the_model(
    kind: str, written: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    library = request.getfixturevalue("keras_2") if written == "keras 2" else keras
    build, count, after = MODELS[kind]
    path = tmp_path / ("model.h5" if written == "keras 2" else written)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both say that .h5 is an old format
        model = build(library)
        channels = model.input_shape[-1]
        images = np.random.default_rng(0).random((2, 16, 16, channels)).astype(np.float32)
        model(images)
        vary(model)
        expected = np.asarray(model(images, training=False))
        model.save(path)
    found = read(path)
    architecture = found.backbone.architecture
    assert len(architecture.layers) == count
    assert [row.type for row in architecture.classifier] == after
    assert found.classifier is not None
    logits = np.asarray(found.backbone.model(images)) @ found.classifier[0] + found.classifier[1]
    if kind == "one output":
        np.testing.assert_allclose(1 / (1 + np.exp(-logits[:, 1:])), expected, rtol=1e-5)
    elif "nested" in kind:
        np.testing.assert_allclose(logits, expected, rtol=1e-5)
    else:
        np.testing.assert_allclose(softmax(logits), expected, atol=1e-5)
    write_pretrained(tmp_path, found)  # compares the graph
    again = read_pretrained(tmp_path)
    assert again.backbone.architecture == architecture
    assert np.array_equal(again.classifier[0], found.classifier[0])  # type: ignore[index]


def test_layers_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    nested(keras).save(tmp_path / "model.keras")
    names = read(tmp_path / "model.keras").backbone.architecture.names
    assert names[1:] == ["bn", "conv", "depthwise", "base_bn", "relu", "add", "conv_1", names[-1]]
    assert read(tmp_path / "model.keras", output="base").backbone.architecture.output == "add"
    sequential(keras, layers.Conv2D(4, 3, name="image")).save(tmp_path / "model.keras")
    assert read(tmp_path / "model.keras").backbone.architecture.names == ["image_1", "flatten"]


@pytest.mark.parametrize(
    "steps",
    [
        [layers.LeakyReLU(), layers.PReLU(), layers.PReLU(shared_axes=[1, 2]), layers.ELU(0.7), layers.Softmax()],
        [layers.Conv2D(4, 3, activation=name) for name in ("leaky_relu", "elu", "selu", "softplus", "softsign")],
        [layers.UpSampling2D(), layers.UpSampling2D((2, 3), interpolation="bilinear"), layers.ReLU(negative_slope=0.1)],
        [layers.Resizing(20, 11), layers.Resizing(7, 9, interpolation="nearest"), layers.Resizing(13, 4)],
        [layers.Conv2D(8, 3), layers.GroupNormalization(4), layers.GroupNormalization(-1, scale=False)],
        [layers.Conv2DTranspose(4, size, strides=2, padding="same") for size in (2, 3)],
        [layers.Conv2DTranspose(4, size, strides=3) for size in (2, 3, 5)],
        [layers.SpatialDropout2D(0.2), layers.GaussianNoise(0.1), layers.Conv2D(4, 3)],
        [lambda x: layers.Minimum()([layers.Average()([x, layers.Subtract()([x, layers.Maximum()([x, x])])]), x])],
        [lambda x: 2.0 - (x / 127.5 - 1.0) * 0.5],
        [keras.applications.vgg16.preprocess_input, layers.Conv2D(4, 3)],
        [keras.applications.densenet.preprocess_input, layers.Conv2D(4, 3)],
    ],
    ids=lambda steps: type(steps[0]).__name__,
)
def test_the_graph_has_the_usual_layers(steps: list[Callable[[Any], Any]], tmp_path: Path) -> None:
    model = functional(keras, *steps)
    vary(model)
    model.save(tmp_path / "model.keras")
    found = read(tmp_path / "model.keras", pixels="0-255")
    write_pretrained(tmp_path, found)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.float32)
    ours = np.asarray(found.backbone.model(images)) @ found.classifier[0] + found.classifier[1]  # type: ignore[index]
    powers = np.exp(ours - ours.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        powers / powers.sum(axis=1, keepdims=True), np.asarray(model(images, training=False)), atol=1e-5
    )


@pytest.mark.parametrize("axis", [-1, None, (1, 2, 3)])
def test_a_normalization_layer_keeps_what_it_learned(axis: Any, tmp_path: Path) -> None:
    learned = layers.Normalization(axis=axis)
    learned.adapt(np.random.default_rng(0).random((9, 16, 16, 3)))
    functional(keras, learned).save(tmp_path / "model.keras")
    rows = read(tmp_path / "model.keras").backbone.model.get_layer(learned.name)
    np.testing.assert_allclose(np.ravel(rows.mean), np.ravel(learned.mean))


@keras.saving.register_keras_serializable()
class Doubled(layers.Layer):
    """A layer that a user wrote."""

    def call(self, x: Any) -> Any:
        return 2 * x


def two_inputs() -> Any:
    one, other = keras.Input((16, 16, 1)), keras.Input((16, 16, 1))
    return keras.Model([one, other], layers.Add()([one, other]))


def two_outputs() -> Any:
    image = keras.Input((16, 16, 1))
    x = layers.Flatten()(image)
    return keras.Model(image, [layers.Dense(2)(x), layers.Dense(3)(x)])


def twice() -> Any:
    shared, image = layers.Conv2D(1, 3, padding="same", name="shared"), keras.Input((16, 16, 1))
    return keras.Model(image, layers.Flatten()(shared(shared(image))))


def quantized() -> Any:
    model = sequential(keras)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize("int8")
    return model


def of(shape: tuple[int | None, ...], **options: Any) -> Any:
    return keras.Sequential([keras.Input(shape, **options), layers.Flatten(), layers.Dense(3)])


REFUSED: dict[str, tuple[Callable[[], Any], dict[str, object], str]] = {
    "own layer": (lambda: sequential(keras, Doubled(name="two")), {}, "two (Doubled) is custom code"),
    "Lambda": (
        lambda: sequential(keras, layers.Lambda(lambda x: x, name="own")),
        {},
        "own (Lambda) is custom code, which is not run. Replace it with built-in Keras layers",
    ),
    "two inputs": (two_inputs, {}, "one output; received 2 inputs and 1 outputs. Save the part from the image"),
    "two outputs": (two_outputs, {}, "received 1 inputs and 2 outputs"),
    "no channels": (lambda: of((16, 16)), {}, "received (None, 16, 16). Put `keras.Input((height, width, 1))`"),
    "channels": (lambda: of((16, 16, 4)), {}, "expected 1 channel (gray) or 3 (RGB)"),
    "fixed batch": (lambda: of((16, 16, 1), batch_size=8), {}, "an input (8, 16, 16, 1). Call the model on"),
    "not square": (lambda: of((16, 20, 1)), {}, "expected square images; received an input of 16 x 20 px"),
    "another side": (
        lambda: of((28, 28, 1)),
        {},
        "image_size: model.keras expects images of 28 px; received 16",
    ),
    "shared layer": (twice, {}, "the layer shared is used more than once"),
    "quantized": (quantized, {}, "expected floating-point weights; received int8"),
    "no pixels": (
        lambda: sequential(keras),
        {"pixels": "auto"},
        "pixels: model.keras does not say which",
    ),
    "mean of three": (
        lambda: sequential(keras),
        {"pixels": {"mean": [0.5] * 3, "std": [0.5] * 3}},
        "pretrain.pixels: expected mean and std for 1 channel, as in model.keras; received 3",
    ),
    "no such layer": (
        lambda: sequential(keras),
        {"output": "dense_9"},
        "output: model.keras has no layer dense_9",
    ),
    "classes": (
        lambda: sequential(keras),
        {"classes": ["a", "b"]},
        "classes: expected 3 names, one for each output",
    ),
    "no classifier": (
        lambda: sequential(keras),
        {"classes": ["a", "b"], "output": "conv"},
        "pretrain.classes: expected auto, because model.keras has no classifier (a Dense layer",
    ),
    "several sigmoids": (  # of which more than one may be true
        lambda: functional(keras, activation="sigmoid"),
        {"classes": ["a", "b", "c"]},
        "because model.keras has no classifier (a Dense layer with softmax over the classes, or with one",
    ),
    "two softmaxes": (
        lambda: keras.Sequential([functional(keras), layers.Softmax()]),
        {"classes": ["a", "b", "c"]},
        "pretrain.classes: expected auto, because model.keras has no classifier",
    ),
    "other classifier": (
        lambda: keras.Sequential(
            [keras.Input((16, 16, 1)), layers.Conv2D(3, 16), layers.Flatten(), layers.Softmax(name="soft")]
        ),
        {},
        "pretrain.output: the classifier of model.keras is not a Dense layer on a vector, so its backbone",
    ),
    "volumes": (
        lambda: keras.Sequential([keras.Input((16, 16, 1)), layers.Reshape((4, 8, 8, 1))]),
        {},
        "the backbone would have the shape (4, 8, 8, 1): expected feature maps, tokens or a vector",
    ),
    "a built-in backbone": (
        lambda: sequential(keras),
        {"backbone": "mnist_cnn", "pixels": "auto"},
        "pretrain.backbone: model.keras is a whole model, not weights without classifier for mnist_cnn",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_models_are_refused_in_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, changes, said = REFUSED[kind]
    monkeypatch.chdir(tmp_path)
    build().save("model.keras")
    with pytest.raises(UserError) as error:
        read(Path("model.keras"), **changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_layer_that_older_files_cannot_hold_is_named(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        functional(keras, lambda x: x / 2).save(tmp_path / "model.h5")
    with pytest.raises(UserError, match="TrueDivide is a custom layer, whose code is not run, or an operation"):
        read(tmp_path / "model.h5")


def test_a_layer_without_a_graph_is_named(tmp_path: Path) -> None:
    steps = [layers.Reshape((256, 1), name="reshape"), layers.Conv1D(3, 3, name="conv")]
    sequential(keras, *steps).save(tmp_path / "model.keras")
    said = r"the layer conv \(Conv1D\) of the network cannot be written as an ONNX graph\. Replace it, or set pretrain"
    with pytest.raises(UserError, match=said):
        read(tmp_path / "model.keras")
    assert read(tmp_path / "model.keras", output="reshape").backbone.architecture.output == "reshape"


def test_files_that_only_keras_2_reads_are_refused_and_can_be_saved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keras_2: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = [keras_2.applications.vgg16.preprocess_input, keras_2.layers.Conv2D(4, 3, name="conv")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = functional(keras_2, *steps)
        model.save("old.h5")
        model = keras_2.models.load_model("old.h5")  # as docs/own_models.md says
        x = image = keras_2.Input(model.input_shape[1:])
        for layer in model.layers:
            if type(layer).__name__ not in ("InputLayer", "TFOpLambda", "SlicingOpLambda"):
                x = layer(x)
        keras_2.Model(image, x).save("new.h5")
        sequential(keras_2).save("new.keras")
    with pytest.raises(UserError, match=r"\(SlicingOpLambda\) is a TensorFlow operation between layers"):
        read(Path("old.h5"))
    assert read(Path("new.h5")).backbone.architecture.names[1:] == ["conv", model.layers[-2].name]
    with pytest.raises(UserError, match=r"Keras 3 cannot read\. Load it where it was created, and save it with `mod"):
        read(Path("new.keras"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.pkl", "expected a data set, an archive of one, a whole model as NAME.keras"),
        ("saved/saved_model.pb", "saved is a SavedModel, which does not store layers"),
        ("no_top.weights.h5", "no_top.weights.h5 contains weights without a network"),
        ("images/a/1.png", "expected a whole model, NAME.keras, NAME.h5 or NAME.onnx"),
        ("cut.keras", "cut.keras: expected a model as Keras saves it, received: File is not a zip file"),
        ("nothing.keras", "there is no nothing.keras"),
    ],
)
def test_other_files_are_refused_in_one_line(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    if path.stem != "nothing":
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"something else")
    if name.endswith("weights.h5"):
        sequential(keras).save_weights(path)
    with pytest.raises(UserError) as error:
        read(Path(path.parts[0]))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_counts_include_the_classifier(tmp_path: Path) -> None:
    """A count n freezes ``model.layers[:n]`` of the input and [conv, flatten, dropout, dense]."""
    model = sequential(keras)
    model.save(tmp_path / "model.keras")
    backbone = read(tmp_path / "model.keras").backbone
    architecture = backbone.architecture
    assert architecture.names == [layer.name for layer in model.layers[:-2]]
    LayerFreezer(backbone.model, train_batchnorm=False, uncounted=1).freeze(1)
    assert [layer.name for layer in backbone.model.layers if layer.trainable] == ["flatten"]
    expected = {-2: (2, "flatten"), -1: (2, "flatten"), 1: (1, "conv"), -4: (0, None), 3: (2, "flatten")}
    found = {freeze: resolve_freeze(architecture, freeze) for freeze in expected}
    assert {freeze: (depth.frozen, depth.layer) for freeze, depth in found.items()} == expected
    assert resolve_freeze(architecture, "dense").frozen == 2
    for freeze, said in ((4, "4 freezes the classifier too, which leaves nothing to train"), (5, "from -4 to 4")):
        with pytest.raises(UserError, match=said):
            resolve_freeze(architecture, freeze)


def test_what_thaw_wrote_into_a_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    save_model(sequential(keras), path, {"contract.json": b"{}", "classes.json": b'["a", "b", "c"]'})
    found = read(path, pixels="auto")
    assert (found.backbone.preprocessing, found.classes) == ("raw", ["a", "b", "c"])
    with pytest.raises(
        UserError, match=r"pixels: expected auto, for .* is Thaw's export, with its preprocessing inside"
    ):
        read(path)  # with 0-1, which would divide twice
    save_model(sequential(keras), path, {"classes.json": b"["})
    with pytest.raises(UserError, match=r"model.keras/classes.json: expected JSON, received: Expecting value"):
        read(path)
    for damaged in (b'["a", "a", "b"]', b"[1, 2, 3]", b'[["x"], [1], [2]]', b"3"):
        save_model(sequential(keras), path, {"classes.json": damaged})
        with pytest.raises(UserError, match=r"expected its classes.json to be a list of two or more different names"):
            read(path)
    contract = json.dumps({"form": "ink", "polarity": "dark_on_light", "fit": "stretch"}).encode()
    save_model(sequential(keras), path, {"contract.json": contract})
    said = describe_keras_backbone(read(path, pixels="auto"), path)
    assert said.endswith("exported for images with form: ink, polarity: dark_on_light, fit: stretch (compare split)")


def test_a_dense_layer_on_feature_maps_is_not_the_classifier(tmp_path: Path) -> None:
    path, image = tmp_path / "model.keras", keras.Input((16, 16, 1))
    maps = layers.Dense(3, activation="softmax", name="map")(layers.Conv2D(2, 3, name="conv")(image))
    keras.Model(image, maps).save(path)
    with pytest.raises(UserError, match=r"is not a Dense layer on a vector, so its backbone"):
        read(path)


def test_scaling_in_the_network_and_before_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    sequential(keras, layers.RandomFlip(), layers.Rescaling(1 / 255, name="rescale"), channels=3).save(path)
    assert "begins with rescale (Rescaling)" in str(find_second_scaling(read(path, pixels="0-1")))
    assert find_second_scaling(read(path, pixels="0-255")) is None
    sequential(keras).save(path)
    assert find_second_scaling(read(path, pixels="0-1")) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"pretrain": {"classes": "auto"}},
            "requires the names of the source's 3 classes, which its file does not contain",
        ),
        ({"split": {"classes": ["a", "d"]}}, "requires every class to be among the source's (a, b, c); missing: d"),
        ({"pretrain": {"classes": "auto", "output": "conv"}}, "or a model of your own that ends in a classifier"),
    ],
)
def test_check_finds_what_no_head_can_start_from(
    changes: dict[str, dict[str, object]], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = OWN | {"source": "data/own/mine.keras", "classes": ["a", "b", "c"]}
    small_project(tmp_path, monkeypatch, {"pretrain": source, "finetune": {"head": {"initial": "source"}}})
    image = keras.Input((16, 16, 1))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(image))
    keras.Model(image, layers.Dense(3)(features)).save("data/own/mine.keras")
    set_params(tmp_path, {"extract": {"freeze": "all"}})
    set_params(tmp_path, changes)
    sections, found = check.read_sections()
    assert found == []
    [line] = check.describe_freeze(sections)[1]
    assert line.startswith("params.yaml: finetune.head.initial: 'source' ")
    assert said in line


PLAIN = """
import sys, keras, numpy
model = keras.models.load_model(sys.argv[1])
pixels = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], numpy.stack([model(pixels), model(pixels.astype("float32")), model.predict(pixels, verbose=0)]))
assert not [name for name in sys.modules if name.startswith("stages")]
"""


@pytest.mark.slow
def test_an_exported_model_is_the_source_of_the_next_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script's model is fine-tuned from its classifier; plain Keras loads the export, which starts the next run."""
    changes = {
        "pretrain": OWN | {"source": "data/own/mine.keras", "classes": ["across", "upright"]},
        "extract": {"freeze": -2, "views": 1},
        "finetune": {"head": {"initial": "source", "epochs": 3}},
        "export": {"formats": ["onnx", "keras"]},
    }
    small_project(tmp_path, monkeypatch, changes)
    keras.utils.set_random_seed(1)
    mine = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(2, activation="softmax"),
        ]
    )
    pixels, labels = pictures(100, seed=5)
    mine.compile("adam", "sparse_categorical_crossentropy")
    mine.fit(pixels / 255, labels, epochs=30, batch_size=10, verbose=0)
    mine.save("data/own/mine.keras")
    stages = (split, pretrain, extract, extract_test, finetune, evaluate, export)
    for stage in stages:
        stage.main()
    said = capsys.readouterr().out
    assert "mine.keras: the backbone ends at flatten" in said
    learned = json.loads(Path("data/evaluate/scores.json").read_text())
    assert learned["head"]["accuracy"] > 0.9

    kept = shutil.copy("data/export/model.keras", "data/own/tuned.keras")
    with zipfile.ZipFile(kept) as file:
        assert json.loads(file.read("classes.json")) == ["across", "upright"]
        assert json.loads(file.read("contract.json"))["size"] == 16
    np.save("pixels.npy", pixels[:5])
    command = [sys.executable, "-c", PLAIN, kept, "pixels.npy", "out.npy"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    found = read_pretrained(Path("data/pretrain"))
    assert found.classifier is not None
    for output in np.load("out.npy"):
        assert output.shape == (5, 2)
        np.testing.assert_allclose(output.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(output.argmax(axis=1), labels[:5])

    set_params(tmp_path, {"pretrain": {"source": "data/own/tuned.keras", "pixels": "auto", "classes": "auto"}})
    for stage in (pretrain, extract, extract_test, finetune, evaluate, export):
        stage.main()
    again = read_pretrained(Path("data/pretrain"))
    assert (again.classes, again.backbone.preprocessing) == (["across", "upright"], "raw")
    tuned = keras.models.load_model(kept)
    features = again.backbone.model(pixels[:5].astype(np.float32))
    np.testing.assert_allclose(
        features, keras.Model(tuned.input, tuned.get_layer(mine.layers[2].name).output)(pixels[:5])
    )

    set_params(tmp_path, {"pretrain": {"source": "data/own/mine.keras", "pixels": "0-1", "classes": "auto"}})
    pretrain.main()
    assert "names of the source's 2 classes, which its file does not contain. List them in pretrain.classes" in refused(
        finetune.main
    )
