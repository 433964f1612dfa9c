"""The user's own ONNX network as the backbone: its weights and config, its limits, and every stage with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from stages import evaluate, export, extract, extract_test, finetune, pretrain, split
from stages.backbones.onnx_backbone import read_onnx_backbone
from stages.backbones.pixel_scaling import Scaling, find_scaling
from stages.backbones.pretrained import read_pretrained
from stages.backbones.source import find_source
from stages.base.errors import UserError
from stages.base.params import read_section
from stages.schema.pretrain import Pretrain
from stages.tools import check, layers
from stages.transfer.feature_extractor import open_feature_extractor
from stages.transfer.model_pair_keras import read_model
from tests.helpers.copies import set_params
from tests.helpers.onnx_networks import SIDE, make_network, save
from tests.helpers.small import small_project

FOLDER, FILE = Path("data/own/network"), Path("data/own/network.onnx")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
ONNX = {
    "pretrain": {"backbone": "source", "source": str(FILE), "pixels": "0-1", "image_size": SIDE},
    "extract": {"freeze": "all", "views": 2, "depths": []},
    "export": {"formats": ["onnx"]},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return small_project(tmp_path, monkeypatch, ONNX)


def read(**changes: object) -> Any:
    """Return the backbone that params.yaml names."""
    params = read_section(Path("params.yaml"), "pretrain", Pretrain).model_copy(update=changes)
    return read_onnx_backbone(params, find_source(params))


def refused(**changes: object) -> str:
    with pytest.raises(UserError) as found:
        read(**changes)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_every_stage_runs(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    save(make_network("tokens"), FILE)
    for one in (split, pretrain, extract, extract_test, finetune, evaluate, export):
        one.main()
    said = capsys.readouterr().out
    assert "network.onnx, 390 parameters: input 16 x 16 x 3, output tokens, 17 tokens of 6 numbers" in said
    assert "frozen part: ONNX Runtime on the CPU" in said
    assert "only the head was trained, because the backbone is an ONNX network" in said
    parity = json.loads(Path("data/export/parity.json").read_text())
    assert parity["formats"]["onnx"]["largest_difference"] < 1e-5
    assert sorted(path.name for path in Path("data/pretrain").iterdir()) == [
        "backbone.onnx",
        "metrics.json",
        "network.json",
    ]
    features = np.load("data/extract/train_features.npy")
    assert features.shape == (32, 6)
    assert features.std() > 0.01
    model = onnx.load("data/export/model.onnx")
    assert {each.domain: each.version for each in model.opset_import} == {"": 18}
    monkeypatch.setattr("stages.transfer.feature_extractor.count_gpus", lambda: 1)  # that ONNX Runtime cannot use
    for runner in (None, "auto"):
        extractor = open_feature_extractor(Path("data/pretrain"), ["features"], "average", runner)
        assert extractor.device == "ONNX Runtime on the CPU"
    head = read_model(Path("data/finetune"), Path("data/pretrain"), "head")
    assert head.input_shape == (None, 6)
    with pytest.raises(UserError, match="data/pretrain holds an ONNX network, which can only be run"):
        read_pretrained(Path("data/pretrain"))


@pytest.mark.parametrize(
    ("name", "config", "mean", "std", "side"),
    [
        ("config.json", {"pretrained_cfg": {"mean": MEAN, "std": STD, "input_size": [3, 224, 224]}}, MEAN, STD, 224),
        ("config.json", {"mean": MEAN, "std": STD}, MEAN, STD, None),
        (
            "preprocessor_config.json",
            {"image_mean": MEAN, "image_std": STD, "rescale_factor": 1 / 255, "do_normalize": True, "size": 224},
            MEAN,
            STD,
            224,
        ),
        (
            "preprocessor_config.json",
            {"do_normalize": False, "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
            [0.0],
            [1.0],
            224,
        ),
        (
            "preprocessor_config.json",
            {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False, "size": {"height": 299}},
            [0.5],
            [0.5],
            299,
        ),
        (
            "image_converter.json",
            {"config": {"scale": [1 / 127.5] * 3, "offset": -1.0, "image_size": [16, 16]}},
            [0.5] * 3,
            [0.5] * 3,
            16,
        ),
    ],
    ids=["timm", "older timm", "Hugging Face", "not normalized", "EfficientNet", "KerasHub"],
)
def test_the_config_next_to_it_has_the_scaling_of_pixels(
    tmp_path: Path, name: str, config: dict[str, Any], mean: list[float], std: list[float], side: int | None
) -> None:
    (tmp_path / name).write_text(json.dumps(config))
    found = find_scaling("auto", tmp_path)
    assert (found.origin, found.side) == (name, side)
    np.testing.assert_allclose(found.scaling.scale, 1 / (255 * np.array(std)))
    np.testing.assert_allclose(found.scaling.offset, -np.array(mean) / std, atol=1e-12)
    assert find_scaling("0-255", tmp_path).scaling == Scaling((1.0,), (0.0,))


def test_configs_without_a_scaling_are_refused(tmp_path: Path) -> None:
    def said() -> str:
        with pytest.raises(UserError) as found:
            find_scaling("auto", tmp_path)
        return str(found.value)

    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')  # of Hugging Face
    assert said().startswith("pretrain.pixels: the pixel range of the network is unknown. Set it to 0-255, 0-1")
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": "gray", "image_std": [1]}')
    assert "preprocessor_config.json: expected the scaling of pixels, received: could not convert" in said()
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false, "do_flip_channel_order": true}')
    assert "the network expects BGR; only RGB is supported" in said()
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    (tmp_path / "config.json").write_text(json.dumps({"mean": MEAN, "std": STD}))
    assert "config.json and preprocessor_config.json differ" in said()
    (tmp_path / "config.json").write_text("{")
    assert "config.json: expected the scaling of pixels, received: Expecting property name" in said()
    assert said().endswith(". Correct it, or remove it and set pretrain.pixels.")
    for mean in ("NaN", "1" * 400, "[" * 10**5, "1, 0"):
        (tmp_path / "config.json").write_text(f'{{"mean": [{mean}], "std": [0.0]}}')
        assert "config.json: expected the scaling of pixels, received: " in said()


def test_a_folder_holds_weights_and_config(here: Path) -> None:
    save(make_network("vector", ("n", 3, "h", "w")), FOLDER / "model.onnx", external=True)
    (FOLDER / "config.json").write_text(json.dumps({"mean": MEAN, "std": STD, "input_size": [3, 224, 224]}))
    (FOLDER / "model.safetensors").write_bytes(b"the same model for PyTorch")
    own = read(source=str(FOLDER), pixels="auto")
    assert own.lines == [
        "model.onnx, 390 parameters: input 16 x 16 x 3, output vector, 6 numbers",
        "pixels scaled to 0-1, then normalized: mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225] (config.json)",
        "note: config.json says 224 pixels, and pretrain.image_size is 16",
    ]
    own = read(source=str(FOLDER), pixels="-1-1")
    assert own.lines[1] == "pixels scaled to 0-1, then normalized: mean [0.5] and std [0.5] (pretrain.pixels)"

    said = refused(source=str(FOLDER / "model.onnx"), pixels="0-1")
    assert "its weights are in model.onnx.data. Move both into a folder and set pretrain.source to the folder" in said
    (FOLDER / "model.onnx.data").unlink()
    assert "expected its weights next to it, in model.onnx.data" in refused(source=str(FOLDER))
    save(make_network(), FOLDER / "other.onnx")
    assert "expected one model or weights file in data/own/network, found model.onnx, other.onnx" in refused(
        source=str(FOLDER)
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "it is a web page: download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a Git LFS pointer: run `git lfs pull`"),
        (b"PK\x03\x04", "it is a zip archive, perhaps a PyTorch .pt file: export the network with torch.onnx"),
        (b"", "it is truncated or another format (0 bytes, beginning with b''). Copy it again"),
        (None, "it is truncated or another format ("),
    ],
    ids=["web page", "Git LFS", "zip", "empty", "cut off"],
)
def test_a_file_without_a_network_is_refused(here: Path, content: bytes | None, said: str) -> None:
    FILE.write_bytes(make_network().SerializeToString()[:700] if content is None else content)
    assert said in refused()


def test_a_network_newer_than_the_library_is_refused(here: Path) -> None:
    model = make_network()
    model.opset_import[0].version = 99
    save(model, FILE)
    assert "received opset 99 and IR version 10. Export it with opset_version=18." in refused()


def test_weights_beside_the_file_are_found_wherever_it_names_them(here: Path) -> None:
    """DVC would not know of a file that a constant of a function, or of a branch, is read from."""
    outside = onnx.TensorProto(name="kernel", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="beside.bin")
    constant = onnx.helper.make_node("Constant", [], ["kernel"], value=outside)
    branch = onnx.helper.make_graph([constant], "branch", [], [])
    for node in (constant, onnx.helper.make_node("If", ["image"], ["y"], then_branch=branch, else_branch=branch)):
        model = make_network()
        opsets = model.opset_import
        model.functions.append(onnx.helper.make_function("own", "Constants", [], ["kernel"], [node], opsets))
        save(model, FILE)
        assert "its weights are in beside.bin. Move both into a folder" in refused()
    outside.external_data.add(key="offset", value="here")
    model.graph.initializer.append(outside)
    save(model, FILE)
    assert "it does not say where its weights are (invalid literal" in refused()


def test_weights_may_be_links_to_a_cache_and_are_whole(here: Path, tmp_path: Path) -> None:
    """As DVC checks out data with ``cache.type symlink``."""
    save(make_network("vector"), FOLDER / "model.onnx", external=True)
    expected = read(source=str(FOLDER)).graph
    weights = FOLDER / "model.onnx.data"
    content = weights.read_bytes()
    weights.rename(tmp_path / "cached")
    weights.symlink_to(tmp_path / "cached")
    assert read(source=str(FOLDER)).graph == expected
    weights.write_bytes(content[:-1])
    assert "model.onnx.data is cut off: it ends within" in refused(source=str(FOLDER))
    model = onnx.load(FOLDER / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value="../cached")
        tensor.data_location = onnx.TensorProto.EXTERNAL
    (FOLDER / "model.onnx").write_bytes(model.SerializeToString())
    assert "expected its weights in its folder; received ../cached" in refused(source=str(FOLDER))


def test_a_network_of_more_than_two_gigabytes_is_refused(here: Path) -> None:
    save(make_network(), FOLDER / "model.onnx", external=True)
    with (FOLDER / "model.onnx.data").open("r+b") as file:
        file.truncate(2**31)  # sparse: it takes no space
    assert "expected a network of less than 2.15 GB, the limit of ONNX files; received 2.15 GB" in refused(
        source=str(FOLDER)
    )


WHY = "because the backbone is an ONNX network, which can only be run, not thawed; received"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extract": {"freeze": -1}}, f"extract.freeze: expected all, {WHY} -1."),
        ({"extract": {"freeze": "none"}}, f"extract.freeze: expected all, {WHY} none."),
        ({"extract": {"depths": ["all", "network"]}}, f"extract.depths: expected all, {WHY} network."),
        (
            {"finetune": {"thawed": {"gradual": [{"epoch": 1, "freeze": -1}]}}},
            f"finetune.thawed.gradual: expected all, {WHY} -1.",
        ),
        ({"extract": {"views": "fresh"}}, f"extract.views: expected a count, {WHY} fresh."),
        ({"compute": {"frozen": "keras"}}, f"compute.frozen: expected auto or onnxruntime, {WHY} keras."),
        ({"compute": {"precision": "bfloat16"}}, f"compute.precision: expected float32, {WHY} bfloat16."),
        ({"finetune": {"head": {"initial": "source"}}}, f"finetune.head.initial: expected new, {WHY} source."),
        ({"export": {"formats": ["onnx", "litert"]}}, f"export.formats: expected [onnx], {WHY} litert."),
        (
            {"extract": {"pooling": "first"}},
            "extract.pooling: expected average, max or none, because the backbone ends in feature maps of 4 x 4 x 6; "
            "received first, which is for tokens.",
        ),
        (
            {"pretrain": {"classes": ["a", "b"]}},
            "pretrain.classes: expected auto, because only a Keras model's classifier is read; received a list.",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_a_graph_does_not_allow_is_found_by_check(here: Path, changes: dict[str, Any], said: str) -> None:
    save(make_network("maps"), FILE)
    set_params(here, changes)
    sections, found = check.read_sections()
    assert found == []
    assert check.describe_freeze(sections)[:2] == ("", [f"params.yaml: {said}"])


@pytest.mark.parametrize(
    ("output", "pooling", "shape"),
    [("maps", "average", "4x4x6"), ("tokens", "average", "17x6"), ("tokens", "first", "17x6"), ("vector", "max", "6")],
)
def test_layers_shows_one_layer(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: str,
    pooling: str,
    shape: str,
) -> None:
    save(make_network(output), FILE)
    set_params(here, {"extract": {"pooling": pooling}})
    monkeypatch.setattr("sys.argv", ["layers"])
    layers.main()
    said = capsys.readouterr().out
    row = next(line.split() for line in said.splitlines() if "network" in line.split())
    assert row[:4] == ["1", "network", "ONNX", shape]
    assert (f"pooling_{pooling}" in said) == (output != "vector")
    assert "stored: only the features, since the whole backbone is frozen" in said


def test_the_number_of_threads_changes_no_byte(here: Path) -> None:
    save(make_network("tokens"), FILE)
    graph, written = read().graph, set()
    pixels = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)
    for threads in (1, 2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])
        written.add(b"".join(values.tobytes() for values in session.run(None, {"pixels": pixels})))
    assert len(written) == 1
