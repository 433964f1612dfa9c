"""extract: the frozen part runs once per image and view; what is stored is what the network would compute."""

import errno
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages import extract
from stages.backbones.pretrained import Pretrained, read_pretrained, write_pretrained
from stages.backbones.registry import BACKBONES
from stages.base.arrays import ArrayFile, ArrayWriter
from stages.base.errors import UserError
from stages.base.terminal import format_size
from stages.compute.networks import build_frozen_part
from stages.images.contract import Contract
from stages.images.load import load
from stages.images.preview import read_preview
from stages.images.split_file import SplitFile
from stages.transfer.activations import bytes_needed, cast, read_description
from stages.transfer.data import read_data
from stages.transfer.freeze import Depth
from stages.transfer.row_files import RowFiles
from tests.conftest import Refusal
from tests.helpers.backwards import open_backwards
from tests.helpers.copies import set_params
from tests.helpers.published import vary


@pytest.fixture
def mobilenet(prepared: Path) -> Path:
    """The same with a backbone that has BatchNormalization."""
    backbone = BACKBONES["mobilenet_v2_035"].build(32)
    vary(backbone.model)
    write_pretrained(prepared / "data" / "pretrain", Pretrained(backbone))
    return prepared


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path("data/extract").iterdir())}


def stored(name: str) -> np.ndarray:
    return np.load(f"data/extract/{name}.npy")


def test_what_is_kept_is_what_the_network_computes(prepared: Path) -> None:
    set_params(prepared, {"extract": {"freeze": -2, "views": 3, "precision": "float32"}})
    extract.main()
    description = json.loads(Path("data/extract/boundary.json").read_text())
    assert description["depths"] == [{"frozen": 4, "layer": "flatten"}]
    assert description["classes"] == ["across", "upright"]
    train, val = SplitFile(Path("data/split/train.parquet")), SplitFile(Path("data/split/val.parquet"))
    np.testing.assert_array_equal(stored("train_labels"), np.repeat(train.labels(), 3))
    np.testing.assert_array_equal(stored("train_images"), np.repeat(np.arange(len(train)), 3))
    np.testing.assert_array_equal(stored("val_labels"), val.labels())
    pixels = np.stack([load(data, Contract(**description["contract"])) for data in train.images()])
    network = build_frozen_part(read_pretrained(Path("data/pretrain")).backbone, ["flatten", "features"], "average")
    outputs = network.predict_on_batch(pixels)
    assert np.std(outputs["flatten"]) > 0.01
    np.testing.assert_allclose(
        stored("train_flatten")[::3], outputs["flatten"], atol=1e-5
    )  # view 0 is the image itself
    np.testing.assert_allclose(stored("train_features")[::3], outputs["features"], atol=1e-5)
    assert not np.allclose(stored("train_features")[1::3], outputs["features"], atol=1e-3)


@pytest.mark.parametrize("frozen", ["onnxruntime", "keras"])
def test_the_batch_size_does_not_matter(prepared: Path, monkeypatch: pytest.MonkeyPatch, frozen: str) -> None:
    set_params(prepared, {"extract": {"freeze": -2, "views": 2}, "compute": {"frozen": frozen}})
    results, written = [], []
    for size in (3, 64):
        monkeypatch.setattr("stages.transfer.feature_extractor.graph_batch_size", lambda _, size=size: size)
        monkeypatch.setattr("stages.compute.forward.choose_batch_size", lambda _, size=size: size)
        extract.main()
        results.append([stored(name) for name in ("train_flatten", "train_features", "val_features")])
        written.append(files())
    for small, large in zip(*results, strict=True):
        np.testing.assert_allclose(small, large, atol=1e-5)
    if frozen == "onnxruntime":
        assert written[0] == written[1]


def test_onnx_runtime_and_the_framework_keep_the_same(mobilenet: Path) -> None:
    results = {}
    for frozen in ("onnxruntime", "keras"):
        set_params(mobilenet, {"compute": {"frozen": frozen}})
        run_with(mobilenet, freeze="block_16", depths=["Conv_1_bn", "none"])
        results[frozen] = {path.stem: np.load(path) for path in Path("data/extract").glob("*.npy")}
    ours, theirs = results.values()
    assert ours.keys() == theirs.keys() >= {"train_pixels", "train_block_15_add", "val_Conv_1", "val_features"}
    for name, values in theirs.items():
        assert ours[name].dtype == values.dtype
        np.testing.assert_allclose(ours[name], values, atol=1e-5 * np.abs(values).max(), err_msg=name)


@pytest.mark.parametrize(
    ("compute", "where"),
    [
        ({"frozen": "auto"}, "ONNX Runtime on the CPU"),
        ({"frozen": "onnxruntime"}, "ONNX Runtime on the CPU"),
        ({"frozen": "keras"}, "in float32 on 1 device"),
    ],
)
def test_what_runs_the_frozen_part_is_said(
    prepared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    compute: dict[str, object],
    where: str,
) -> None:
    monkeypatch.setattr("stages.transfer.feature_extractor.count_gpus", lambda: 0)
    set_params(prepared, {"compute": compute})
    extract.main()
    assert re.search(rf"frozen part: .*{where}\n", capsys.readouterr().out)
    assert (stored("train_features").dtype, stored("train_features").shape) == (np.float32, (32, 128))


def test_a_gpu_that_nothing_can_use_is_said(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stages.transfer.feature_extractor.count_gpus", lambda: 1)
    monkeypatch.setattr("stages.transfer.feature_extractor.has_cuda", lambda: False)
    monkeypatch.setattr("stages.compute.runtime.on_gpu", lambda: False)
    extract.main()
    said = capsys.readouterr().out
    assert "does not see the GPU of this machine, so the CPU computes: pip install -e '.[gpu]'" in said
    assert "frozen part: ONNX Runtime on the CPU" in said


def test_half_precision_is_half_the_disk_and_close(prepared: Path) -> None:
    results = {}
    for precision in ("float32", "float16"):
        set_params(prepared, {"extract": {"freeze": -2, "precision": precision}})
        extract.main()
        results[precision] = stored("train_flatten")
    assert results["float16"].nbytes * 2 == results["float32"].nbytes
    np.testing.assert_allclose(results["float16"], results["float32"], rtol=1e-3, atol=1e-4)


def test_what_half_precision_cannot_hold_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"extract.precision: float16 cannot hold activations of 7e\+04. Set it to float32"
    ):
        cast(np.array([1.0, 7e4], dtype=np.float32), "float16")


@pytest.mark.parametrize("freeze", ["all", "none"])
def test_all_frozen_keeps_features_and_none_frozen_keeps_pixels(prepared: Path, freeze: str) -> None:
    set_params(prepared, {"extract": {"freeze": freeze}})
    extract.main()
    assert stored("train_features").shape == (32, 128)
    written = {path.name for path in Path("data/extract").glob("train_*.npy")}
    expected = {"train_labels.npy", "train_images.npy", "train_features.npy"}
    assert written == expected | ({"train_pixels.npy"} if freeze == "none" else set())
    if freeze == "none":
        assert (stored("train_pixels").dtype, stored("train_pixels").shape) == (np.uint8, (32, 16, 16, 1))


@pytest.mark.parametrize(("key", "value"), [("freeze", "dens"), ("depths", ["all", "dens"])])
def test_a_layer_that_does_not_exist_is_named(prepared: Path, refused: Refusal, key: str, value: object) -> None:
    set_params(prepared, {"extract": {key: value}})
    assert f"extract.{key}: expected 'all', 'none', a count, or a layer" in (said := refused(extract.main))
    assert "received 'dens'. Did you mean dense?" in said


def test_one_pass_keeps_all_depths_and_each_as_if_alone(prepared: Path) -> None:
    together = arrays(prepared, -2, ["all", "none", "dropout", "dense", -2])
    listed = json.loads(Path("data/extract/boundary.json").read_text())["depths"]
    assert [(depth["frozen"], depth["layer"]) for depth in listed] == [
        (4, "flatten"),
        (6, "dropout"),
        (5, "dense"),
        (0, None),
    ]
    layers = ["dense", "features", "flatten", "labels", "pixels"]
    assert sorted(together) == [
        "seen.npz",
        *sorted(["train_images.npy", *(f"{split}_{what}.npy" for split in ("train", "val") for what in layers)]),
    ]
    alone = [arrays(prepared, freeze, []) for freeze in ("all", "none", "dropout", -2)]
    for name, content in [pair for single in alone for pair in single.items()]:
        assert together[name] == content, name
    assert set(together) == {name for single in alone for name in single}


def test_a_depth_in_other_words_gives_the_same_bytes(prepared: Path) -> None:
    written = []
    for freeze, depths in ((-2, ["all", "dropout"]), (4, [5, "all", "dropout"]), ("dense", [-1, 6, 4])):
        run_with(prepared, freeze=freeze, depths=depths)
        written.append(files())
    assert written[0] == written[1] == written[2]


def arrays(folder: Path, freeze: int | str, depths: list[int | str]) -> dict[str, bytes]:
    """Run the stage for these depths; return the arrays that it writes."""
    run_with(folder, freeze=freeze, depths=depths)
    return {path.name: path.read_bytes() for path in Path("data/extract").glob("*.n*")}


def test_a_depth_is_kept_as_if_alone_also_between_a_convolution_and_its_batchnorm(mobilenet: Path) -> None:
    depths: dict[int | str, str] = {  # thawed from, and the layer before it, whose output is stored
        "block_16_project_BN": "block_16_project",
        "Conv_1": "block_16_project_BN",
        "Conv_1_bn": "Conv_1",
        "out_relu": "Conv_1_bn",
        "bn_Conv1": "Conv1",
        "block_16_depthwise_BN": "block_16_depthwise",
        "block_16_depthwise_relu": "block_16_depthwise_BN",
        "block_16": "block_15_add",
    }
    together = arrays(mobilenet, "block_16_project_BN", list(depths))
    description = read_description(Path("data/extract"))
    assert {depth.layer for depth in description.depths} == set(depths.values())
    for freeze, layer in depths.items():
        for name, content in arrays(mobilenet, freeze, []).items():
            assert together[name] == content, f"{name} beside others differs from {layer} alone"


AUGMENT = {"rotation": 20, "shear": 10, "brightness": 0.3, "cutout": 0.2}


def run_with(folder: Path, **changes: object) -> None:
    """Run the stage with what ``changes`` add to the settings of the other tests."""
    plain = {"freeze": -2, "depths": [], "views": 2, "precision": "float32"}
    off = {**dict.fromkeys((*AUGMENT, "mixup", "cutmix"), 0), "rand_augment": {"operations": 0}}
    set_params(folder, {"extract": {**plain, **changes, "augment": {**off, **changes.get("augment", {})}}})  # type: ignore[dict-item]
    extract.main()


def test_mixed_views_have_shares_as_targets(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for size in (5, 64):
        augment = {**AUGMENT, "mixup": 0.4, "cutmix": 1.0, "rand_augment": {"operations": 1}}
        monkeypatch.setattr("stages.transfer.feature_extractor.graph_batch_size", lambda _, size=size: size)
        run_with(prepared, views=3, augment=augment)
        assert not Path("data/extract/train_labels.npy").exists()
        results.append([stored(name) for name in ("train_targets", "train_features", "train_flatten")])
    targets, labels = results[0][0], SplitFile(Path("data/split/train.parquet")).labels()
    assert (targets.shape, targets.dtype) == ((48, 2), np.float32)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(targets[::3], np.eye(2)[labels])  # the images themselves
    assert ((targets > 0.05) & (targets < 0.95)).any(axis=1).sum() > 5
    for small, large in zip(*results, strict=True):
        np.testing.assert_allclose(small, large, atol=1e-5)
    data = read_data(Path("data/extract"), "train", "features", read_description(Path("data/extract")))
    validation = read_data(Path("data/extract"), "val", "features", read_description(Path("data/extract")))
    assert data is not None
    assert validation is not None
    inputs, shares = data.batch(np.array([1, 5]), epoch=0)
    np.testing.assert_array_equal(inputs, stored("train_features")[[1, 5]])
    np.testing.assert_array_equal(shares, stored("train_targets")[[1, 5]])
    np.testing.assert_array_equal(validation.batch(np.arange(8), 0)[1], np.eye(2)[stored("val_labels")])


def test_fresh_keeps_pixels_and_draws_views_from_them(prepared: Path) -> None:
    run_with(prepared, depths=["none", "dropout"], views="fresh", augment=AUGMENT)
    folder, description = Path("data/extract"), read_description(Path("data/extract"))
    assert description.fresh
    assert description.depths == [Depth(4, "flatten"), Depth(5, "dense"), Depth(0, None)]
    draws = json.loads((folder / "fresh.json").read_text())
    assert draws["augment"].items() >= AUGMENT.items()
    written = {path.name for path in folder.glob("*.npy")}
    assert written == {f"{split}_{what}.npy" for split in ("train", "val") for what in ("labels", "pixels")}
    packed = SplitFile(Path("data/split/train.parquet"))
    contract = Contract(**description.contract)
    np.testing.assert_array_equal(stored("train_pixels"), [load(data, contract) for data in packed.images()])
    phases = []
    for what in ("flatten", "features"):
        data, validation = (read_data(folder, split, what, description) for split in ("train", "val"))
        assert data is not None
        assert validation is not None
        assert len(data) == 16
        first, second = (data.batch(np.arange(4), epoch)[0] for epoch in (0, 1))
        assert first.shape == (4, 16, 16, 1)
        assert not np.array_equal(first, second)
        phases.append(first)
        np.testing.assert_array_equal(data.batch(np.arange(4), 0)[0], first)
        np.testing.assert_array_equal(validation.batch(np.arange(8), 0)[0], stored("val_pixels"))
        np.testing.assert_array_equal(validation.batch(np.arange(8), 5)[0], stored("val_pixels"))
    assert not np.array_equal(*phases)  # the thawed phase sees none of the head's views again
    pixels, images = read_preview(folder / "seen.npz")
    seen = {image.source: row for image, row in zip(images, pixels, strict=True)}
    for source, row in seen.items():  # the image itself, then the first epochs
        place = packed.sources().index(source)
        np.testing.assert_array_equal(row[0], stored("train_pixels")[place])
        np.testing.assert_array_equal(row[1], data.batch(np.array([place]), 0)[0][0])
        np.testing.assert_array_equal(row[7], data.batch(np.array([place]), 6)[0][0])


def test_what_is_shown_is_what_the_network_saw(prepared: Path) -> None:
    run_with(prepared, freeze="none", views=10, augment={**AUGMENT, "mixup": 0.4})
    pixels, images = read_preview(Path("data/extract/seen.npz"))
    assert pixels.shape == (2, 8, 16, 16, 1)
    assert {image.class_name for image in images} == {"across", "upright"}
    fed, targets = stored("train_pixels").reshape(16, 10, 16, 16, 1), stored("train_targets").reshape(16, 10, 2)
    sources = SplitFile(Path("data/split/train.parquet")).sources()
    for image, row in zip(images, pixels, strict=True):
        place = sources.index(image.source)
        np.testing.assert_array_equal(row, fed[place, :8])
        for shares, target in zip(image.shares, targets[place], strict=False):
            assert dict(shares) == {name: t for name, t in zip(("across", "upright"), target, strict=True) if t}
            assert shares[0][1] == max(share for _, share in shares)
    before = Path("data/extract/seen.npz").read_bytes()
    extract.main()
    assert Path("data/extract/seen.npz").read_bytes() == before
    run_with(prepared, views=1)
    assert read_preview(Path("data/extract/seen.npz"))[1] == []


@pytest.mark.parametrize("meanwhile", ["nothing", "damage", "other params"])
def test_an_interrupted_pass_resumes_and_writes_the_same_bytes(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], meanwhile: str
) -> None:
    monkeypatch.setattr("stages.transfer.extraction.WINDOW", 4)  # images in a chunk
    monkeypatch.setattr("stages.transfer.feature_extractor.graph_batch_size", lambda _: 4)
    write, kept, calls = RowFiles.write, Path("data/.resume-extract"), []

    def interrupt(*arguments: Any) -> None:
        write(*arguments)
        calls.append(arguments)
        if len(calls) == 5:  # the images have two views
            raise KeyboardInterrupt

    monkeypatch.setattr(RowFiles, "write", interrupt)
    with pytest.raises(SystemExit):
        run_with(prepared)
    monkeypatch.setattr(RowFiles, "write", write)
    assert not Path("data/extract").exists()
    if meanwhile == "damage":
        with (kept / "train_flatten.npy").open("r+b") as file:
            file.seek(-19 * 1568 * 4, 2)  # the 14th of 32 rows: in the fourth batch of four
            file.write(b"\xff\xff")
    capsys.readouterr()
    run_with(prepared, **({"seed": 2} if meanwhile == "other params" else {}))
    resumed, said = files(), capsys.readouterr().out
    done = {"nothing": 8, "damage": 4, "other params": 0}[meanwhile]
    assert (f"resuming: {done} of 16 train images are done" in said) == (done > 0)
    assert ("starting over: params, code, inputs or libraries differ" in said) == (done == 0)
    assert not kept.exists()
    extract.main()
    assert "resuming" not in capsys.readouterr().out
    assert files() == resumed


@pytest.mark.parametrize("views", [3, "fresh"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_cluster_writes_the_same_bytes(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, views: int | str, precision: str
) -> None:
    for module in ("transfer.extraction", "images.mixup", "images.example_views"):
        monkeypatch.setattr(f"stages.{module}.WINDOW", 8)
    augment = {**AUGMENT, "mixup": 0.4, "cutmix": 1.0}
    run_with(prepared, views=views, precision=precision, depths=["none"], augment=augment)
    alone = files()
    monkeypatch.setattr(extract, "open_cluster", open_backwards)
    run_with(prepared, views=views, precision=precision, depths=["none"], augment=augment)
    assert files() == alone


def test_a_full_disk_keeps_nothing(prepared: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RowFiles, "write", full)
    assert "No space left on device" in refused(extract.main)
    assert not Path("data/.resume-extract").exists()


def test_without_validation_images_there_are_none_to_read(prepared: Path) -> None:
    extract.main()
    folder = prepared / "data" / "extract"
    for path in folder.glob("val_*"):
        path.unlink()
    assert read_data(folder, "val", "features", read_description(folder)) is None


def test_the_disk_is_asked_before_the_work(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: Refusal
) -> None:
    run_with(prepared, precision="float16", depths=["none", "dropout"])
    said = capsys.readouterr().out
    layers = ("pixels", "flatten", "dense", "features")
    expected = sum(stored(f"{split}_{what}").nbytes for split in ("train", "val") for what in layers)
    assert f"the stored arrays take {format_size(expected)} of disk; " in said
    before = sorted(Path("data/extract").iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert "1 kB are free. Free some space, or store less: fewer extract.views" in refused(extract.main)
    assert sorted(Path("data/extract").iterdir()) == before
    assert bytes_needed((6, 6, 96), "float16", 1000) == 6 * 6 * 96 * 2 * 1000


def test_rows_are_read_as_they_were_written_in_any_order(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((50, 3, 4)).astype(np.float16)
    rows = ArrayWriter(tmp_path / "rows.npy", 50)
    for start in range(0, 50, 20):
        rows.add(values[start : start + 20])
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), values)
    read = ArrayFile(tmp_path / "rows.npy")
    assert (len(read), read.shape) == (50, (50, 3, 4))
    for places in ([7], [3, 4, 5], [49, 0, 1, 30, 31, 2], range(50)):
        np.testing.assert_array_equal(read[np.array(places)], values[list(places)])
