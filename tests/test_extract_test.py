"""extract_test: the frozen pass over the test images; what is stored is what Keras computes, in float32."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages import extract, extract_test, pretrain
from stages.backbones.leakage import find_learned, pixel_hash, write_learned
from stages.backbones.pretrained import read_pretrained
from stages.base.terminal import format_size
from stages.compute.networks import build_frozen_part
from stages.images.contract import Contract
from stages.images.load import load
from stages.images.split_file import SplitFile
from stages.sources.data_set import encode_png
from stages.transfer.activations import read_description
from tests.conftest import Refusal
from tests.helpers.copies import set_params

TEST = Path("data/split/test.parquet")


def run_with(folder: Path, **changes: object) -> dict[str, np.ndarray]:
    """Run extract with ``changes``, then the stage; return what it keeps."""
    set_params(folder, {"extract": changes})
    extract.main()
    extract_test.main()
    assert {path.suffix for path in Path("data/extract_test").iterdir()} == {".npy"}
    return {path.stem: np.load(path) for path in Path("data/extract_test").iterdir()}


def expected(*names: str) -> dict[str, np.ndarray]:
    """Return what Keras computes of the test images, in the order of the split."""
    contract = Contract(**read_description(Path("data/extract")).contract)
    pixels = np.stack([load(data, contract) for data in SplitFile(TEST).images()])
    network = build_frozen_part(read_pretrained(Path("data/pretrain")).backbone, names, "average")
    outputs: dict[str, np.ndarray] = network.predict_on_batch(pixels)
    return outputs


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("views", [2, "fresh"])
def test_what_is_kept_is_what_keras_computes(prepared: Path, views: int | str, precision: str) -> None:
    stored = run_with(prepared, freeze=-2, depths=["none", "dropout"], views=views, precision=precision)
    assert set(stored) == {"flatten", "pixels", "dense", "features"}  # at the depths, fresh views or not
    for name, values in expected(*stored).items():
        assert np.std(values) > 0.01, name
        assert stored[name].dtype == (np.uint8 if name == "pixels" else np.float32)
        np.testing.assert_allclose(stored[name], values, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(stored["pixels"], expected("pixels")["pixels"])


@pytest.mark.parametrize(
    ("freeze", "depths", "names"),
    [
        (-2, [], {"flatten", "features"}),
        (-2, ["dense"], {"flatten", "features"}),  # the same layer
        ("all", [], {"features"}),
        ("none", [], {"pixels", "features"}),
        ("all", ["dropout"], {"dense", "features"}),
    ],
)
def test_nothing_but_the_depths_is_kept(
    prepared: Path, freeze: int | str, depths: list[int | str], names: set[str]
) -> None:
    stored = run_with(prepared, freeze=freeze, depths=depths)
    assert set(stored) == names
    assert {len(rows) for rows in stored.values()} == {len(SplitFile(TEST))}


def test_it_does_not_depend_on_how_training_is_computed(prepared: Path) -> None:
    written = []
    for compute in ({"frozen": "auto"}, {"frozen": "keras"}):
        set_params(prepared, {"compute": compute})
        run_with(prepared, freeze=-2)
        written.append(files())
    assert written[0] == written[1]


@pytest.mark.parametrize("how", ["the same files", "a link", "another format"])
def test_test_images_that_pretrain_learned_are_refused(prepared: Path, refused: Refusal, how: str) -> None:
    """Whatever they are called and wherever they lie."""
    source, copy = Path("data/own/bars"), Path("data/own/elsewhere")
    if how == "a link":
        copy.symlink_to(source.resolve())
    else:
        for file in sorted(source.rglob("*.png")):
            target = copy / file.parent.name / f"copy_{file.stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            if how == "another format":
                Image.open(file).convert("RGB").save(target.with_suffix(".bmp"))
            else:
                shutil.copy(file, target)
    set_params(prepared, {"pretrain": {"source": str(copy), "epochs": 1}})
    pretrain.main()
    extract.main()
    said = refused(extract_test.main)
    count = len(SplitFile(TEST))
    found = int(re.match(r"extract_test: (\d+) of", said).group(1))  # type: ignore[union-attr]
    assert 0.7 * count < found <= count, "pretrain holds a tenth back"
    assert f"{found} of {count} test images are among those that pretrain learned from: " in said
    assert f" and {found - 3} more. Their accuracy would say nothing about new images." in said
    assert not Path("data/extract_test").exists()
    set_params(prepared, {"pretrain": {"epochs": 0}})
    pretrain.main()
    extract_test.main()


def test_blank_images_in_both_data_sets_are_no_sign(prepared: Path) -> None:
    pixels, contract = np.full((16, 16, 1), 255, np.uint8), Contract(16, 1, "photo", "light_on_dark", "stretch")
    write_learned(prepared / "learned.npz", np.array([pixel_hash(pixels)], np.uint64), contract)
    assert find_learned(prepared / "learned.npz", [encode_png(pixels.squeeze(-1))]) == []


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path("data/extract_test").iterdir())}


def test_a_second_run_and_other_depths_beside_give_the_same_bytes(prepared: Path) -> None:
    run_with(prepared, freeze=-2)
    first = files()
    extract_test.main()
    assert files() == first
    run_with(prepared, freeze="none", depths=[-2, "dropout"])
    assert files().items() > first.items()


def test_an_empty_test_split_is_said(prepared: Path, capsys: pytest.CaptureFixture[str], refused: Refusal) -> None:
    extract.main()
    pq.write_table(pq.read_table(TEST).slice(0, 0), TEST)  # as no split leaves it
    assert len(SplitFile(TEST)) == 0
    capsys.readouterr()
    assert refused(extract_test.main) == (
        "extract_test: data/split/test.parquet holds no image: nothing can be measured. "
        "Leave some with split.test, such as 'rest'.\n"
    )
    assert not Path("data/extract_test").exists()


def test_what_is_missing_is_said(prepared: Path, refused: Refusal) -> None:
    assert "data/extract/boundary.json is missing. Run `dvc repro extract`" in refused(extract_test.main)
    extract.main()
    Path("data/pretrain/backbone.onnx").unlink()
    assert "data/pretrain/backbone.onnx is missing. Run `dvc repro pretrain`, or `dvc pull`." in refused(
        extract_test.main
    )
    assert not Path("data/extract_test").exists()


def test_the_disk_is_asked_before_the_work(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: Refusal
) -> None:
    stored = run_with(prepared, freeze=-2)
    needed = sum(rows.nbytes for rows in stored.values())
    assert f"the stored arrays take {format_size(needed)} of disk; " in capsys.readouterr().out
    before = files()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert "1 kB are free. Free some" in refused(extract_test.main)
    assert files() == before
