"""Damaged and hostile models of the user: whatever a file contains, one line names it and says what to do."""

import io
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from onnx import helper

from stages.backbones.build import build_backbone
from stages.base.errors import UserError
from stages.base.params import read_yaml, validate
from stages.schema.pretrain import Pretrain
from tests.conftest import PROJECT
from tests.helpers.damage import loop_heap
from tests.helpers.onnx_networks import SIDE, make_network, node


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


DEFAULTS = read_yaml(PROJECT / "recipes" / "default.yaml")["pretrain"]


def refused(path: Path, **changes: object) -> str:
    """Read the backbone, as ``check`` does; return what is said, or "" if it is accepted."""
    own = {"backbone": "source", "source": str(path), "pixels": "0-1", "image_size": SIDE}
    try:
        build_backbone(validate(DEFAULTS | own | changes, "pretrain", Pretrain))
    except UserError as error:
        said = str(error)
        assert "\n" not in said
        assert str(path) in said or said.startswith("pretrain.")
        assert said.endswith(".")
        return said
    return ""


def repeat_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def misspell(text: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(text, b"\xff" + text[1:], 1)


def shuffle_nodes(model: onnx.ModelProto) -> None:
    nodes = [onnx.NodeProto.FromString(one.SerializeToString()) for one in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def ignore_image(model: onnx.ModelProto) -> None:
    """Let the network return its weights, in as many rows as there are images."""
    model.graph.node.append(node("Shape", ["image"], "count", end=1))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["count"], ["zeros"]))
    model.graph.node.append(node("Reshape", ["zeros", "column"], "zero"))
    model.graph.node.append(node("Add", ["zero", "row"], "constant"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 1]), "column"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 5), np.float32), "row"))
    model.graph.output[0].name = "constant"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (repeat_node, "expected one operator for each tensor; several operators output maps. Copy or export it again."),
        (misspell(b"Conv"), "expected operators and tensors with names in UTF-8. Copy or export it again."),
        (misspell(b"kernel"), "expected operators and tensors with names in UTF-8. Copy or export it again."),
        (misspell(b"strides"), "model.onnx"),
        (shuffle_nodes, "expected a valid network; Nodes in a graph must be topologically sorted"),
        (ignore_image, "its output does not depend on the image. Export it again, or set pretrain.output."),
    ],
    ids=["repeated", "operator", "tensor", "attribute", "unsorted", "constant"],
)
def test_damaged_networks_are_refused(damage: Callable[..., bytes | None], said: str) -> None:
    model = make_network("tokens")
    content = damage(model.SerializeToString()) if "misspell" in damage.__qualname__ else damage(model)
    Path("model.onnx").write_bytes(content or model.SerializeToString())
    assert said in refused(Path("model.onnx"))


def damage(draw: random.Random, model: onnx.ModelProto) -> bytes:
    """Change bits, cut the file, or exchange fields."""
    graph = model.graph
    one, other = draw.choice(graph.node), draw.choice(graph.node)
    weight, place, number = draw.choice(graph.initializer), draw.randrange(4), draw.choice([-1, 0, 7, 2**40])
    match draw.randrange(8):
        case 0:
            one.op_type, other.op_type = other.op_type, draw.choice(["Loop", "NonZero", "Resize", one.op_type])
        case 1:
            one.output[0] = draw.choice([other.output[0], "", "image", "nowhere"])
        case 2:
            weight.dims[0] = number
        case 3:
            weight.data_type = draw.randrange(30)
        case 4:
            graph.input[0].type.tensor_type.shape.dim[place].dim_value = number
        case 5:
            model.opset_import[0].version = number
    content = bytearray(model.SerializeToString())
    if draw.random() < 0.6:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content[: draw.randrange(len(content))] if draw.random() < 0.1 else content)


def test_whatever_an_onnx_file_contains() -> None:
    path, accepted = Path("model.onnx"), 0
    for seed in range(40):
        draw = random.Random(seed)
        path.write_bytes(damage(draw, make_network(draw.choice(["maps", "tokens", "vector"]))))
        accepted += refused(path) == ""
    assert 0 < accepted < 30


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The content of a model's files, by suffix."""
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)])
    found = {}
    for suffix in (".keras", ".h5"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # .h5 is an old format
            model.save(path := tmp_path_factory.mktemp("saved") / f"model{suffix}")
        found[suffix] = path.read_bytes()
    return found


def pack(content: bytes, **changes: bytes | None) -> bytes:
    """Return a .keras archive with files changed, added or (None) left out; of their names "__" stands for a period."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    files |= {name.replace("__", "."): change for name, change in changes.items()}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, change in files.items():
            if change is not None:
                archive.writestr(name, change)
    return target.getvalue()


def rename(content: bytes, name: bytes, new: bytes) -> bytes:
    return content.replace(name, new)  # of the same length


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_hdf5_that_never_returns_is_ended(
    suffix: str, saved: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.base.hdf5.SECONDS", 1)
    content = saved[suffix]
    if suffix == ".keras":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = pack(content, model__weights__h5=loop_heap(archive.read("model.weights.h5")))
    path = Path(f"model{suffix}")
    path.write_bytes(content if suffix == ".keras" else loop_heap(content))
    assert refused(path) == (
        f"{path}: its HDF5 content is damaged: reading it did not finish in 1 seconds. Copy or save it again."
    )


ZIPS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda content: content[: len(content) // 2], "received: File is not a zip file. Copy or save it again."),
    "bomb": (
        lambda content: pack(content, contract__json=bytes(99 << 20)),
        "bytes of files in it, received 103,8",
    ),
    "twice": (
        lambda content: rename(pack(content, confix__json=b"{}"), b"confix.json", b"config.json"),
        "expected one file config.json in it, received 2. Copy or save it again; if somebody else made it, be careful",
    ),
    "absolute": (
        lambda content: rename(pack(content, a_etc_x=b"x"), b"a_etc_x", b"//etc/x"),
        "expected relative file names in it, received //etc/x",
    ),
    "outside": (
        lambda content: rename(pack(content, up_up_x=b"x"), b"up_up_x", b"../../x"),
        "expected relative file names in it, received ../../x",
    ),
    "no config": (lambda content: pack(content, config__json=None), "expected a config.json and a metadata.json of"),
    "a list": (lambda content: pack(content, metadata__json=b"[]"), "expected a config.json and a metadata.json of"),
    "nested": (lambda content: pack(content, config__json=b"[" * 10**5), "config.json: expected JSON, received: "),
    "a layer": (
        lambda content: pack(
            content, config__json=b'{"module": "keras.layers", "class_name": "ReLU", "config": {"name": "relu"}}'
        ),
        "cannot read it (it contains a ReLU, not a model)",
    ),
    "no weights": (lambda content: pack(content, model__weights__h5=b""), "Keras 3.15.1 cannot read it (Unable to"),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_hostile_keras_archives_are_refused(kind: str, saved: dict[str, bytes]) -> None:
    make, said = ZIPS[kind]
    path = Path("model.keras")
    path.write_bytes(make(saved[".keras"]))
    assert said in refused(path)


def test_whatever_a_keras_file_contains(saved: dict[str, bytes]) -> None:
    for seed in range(10):
        draw = random.Random(seed)
        suffix = draw.choice([".keras", ".h5"])
        content = bytearray(saved[suffix])
        for _ in range(draw.randrange(1, 20)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        Path(f"model{suffix}").write_bytes(content)
        refused(Path(f"model{suffix}"))
