"""check: all of params.yaml at once, what its sections ask of each other, and the freeze depth."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from stages.tools import check
from tests.conftest import Refusal
from tests.helpers.copies import ran, run, set_params


def test_the_defaults_pass(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.main()
    said = capsys.readouterr().out
    assert "mnist_cnn at 28 px: 4 of 6 layers frozen, thawed from dense on; activations are stored at flatten." in said


def test_a_source_outside_the_repository_cannot_be_shared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "photographs").mkdir()
    (here / "outside").symlink_to("photographs")
    for source, warned in ((str(here / "photographs"), True), ("../photographs", True), ("outside", False)):
        (here.parent / "photographs").mkdir(exist_ok=True)
        set_params(here, {"split": {"source": source, "form": "photo"}})
        check.main()
        said = capsys.readouterr().out
        assert said.count("warning:") == warned
        assert (f"warning: params.yaml: split.source: {source} is outside the repository" in said) == warned


def test_choices_that_seldom_work_are_warned_of(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_params(here, {"extract": {"freeze": "none"}, "finetune": {"thawed": {"learning_rate": 0.01}}})
    check.main()
    said = capsys.readouterr().out
    assert said.count("warning: params.yaml: ") == 2
    assert "extract.freeze: nothing is frozen, so 5 training images per class train 692,672 parameters" in said
    assert "finetune.thawed.learning_rate: 0.01 is not below the head's 0.001" in said


@pytest.mark.parametrize(("images", "val", "warned"), [(12, 9, True), (60, 50, False), (30, 0.5, True)])
def test_few_images_for_a_temperature_are_warned_of(
    here: Path, capsys: pytest.CaptureFixture[str], images: int, val: float, warned: bool
) -> None:
    for number in range(2 * images):
        (folder := here / "data/own/set" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").touch()
    set_params(here, {"split": {"source": "data/own/set", "val": val}, "finetune": {"calibrate": "temperature"}})
    check.main()
    said = capsys.readouterr().out
    count = 2 * val if isinstance(val, int) else round(2 * images * val)
    assert (f"finetune.calibrate: temperature is fitted on {count} validation images, and with fewer" in said) == warned


@pytest.mark.parametrize("views", [2, "fresh"])
def test_the_depth_that_is_trained_is_the_one_shown(
    here: Path, capsys: pytest.CaptureFixture[str], views: int | str
) -> None:
    extract = {"depths": ["all", "dropout"], "views": views}
    set_params(here, {"extract": extract, "finetune": {"thawed": {"freeze": "dropout"}}})
    check.main()
    kept = "only pixels are stored" if views == "fresh" else "activations are stored at dense"
    assert f"5 of 6 layers frozen, thawed from dropout on; {kept}." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extract": {"freeze": "dens"}}, "extract.freeze: expected 'all', 'none', a count, or a layer"),
        ({"extract": {"freeze": 7}}, "extract.freeze: expected a count from -6 to 6"),
        ({"extract": {"depths": ["all", "dens"]}}, "extract.depths: expected 'all', 'none', a count, or a layer"),
        ({"extract": {"depths": [True]}}, "extract.depths.0: expected 'all', 'none', the name of a layer or block"),
        (
            {"extract": {"depths": ["all"]}, "finetune": {"thawed": {"freeze": "dropout"}}},
            "finetune.thawed.freeze: expected 'extract', or a depth whose activations extract.freeze and "
            "extract.depths store (frozen layers: 4, 6); received 'dropout', which freezes 5. Add it to "
            "extract.depths.",
        ),
        (
            {"extract": {"views": "fresh"}, "finetune": {"thawed": {"freeze": "dropout"}}},
            "finetune.thawed.freeze: expected 'extract', or a depth whose activations extract.freeze and "
            "extract.depths store (frozen layers: 4); received 'dropout', which freezes 5. Add it to extract.depths.",
        ),
        ({"pretrain": {"backbone": "vgg"}}, "pretrain.backbone: there is no backbone 'vgg'. Did you mean vgg"),
        (
            {"extract": {"freeze": "block5"}},
            "dense, last_block; layers: image, conv … dropout); received 'block5'",
        ),
        (
            {"pretrain": {"source": "data/fetch/vgg16_imagenet"}},
            "pretrain.source: data/fetch/vgg16_imagenet is fetched only when fetch.items lists vgg16_imagenet",
        ),
        (
            {
                "fetch": {"items": ["paper_digits", "vgg16_imagenet"]},
                "pretrain": {"source": "data/fetch/vgg16_imagenet", "backbone": "vgg19", "image_size": 32},
            },
            "holds the weights of vgg16, and pretrain.backbone is vgg19. Set pretrain.backbone: vgg16, or "
            "pretrain.source: data/fetch/vgg19_imagenet.",
        ),
        ({"split": {"test": 0}}, "split.test"),
        (
            {"finetune": {"thawed": {"gradual": [{"epoch": 1, "freeze": "dens"}]}}},
            "finetune.thawed.gradual: expected 'all', 'none', a count, or a layer or block",
        ),
        (
            {"split": {"classes": [1, 2, 3]}, "finetune": {"head": {"initial": "new", "output": "sigmoid"}}},
            "finetune.head.output: expected softmax for 3 classes; received sigmoid",
        ),
        (
            {"finetune": {"head": {"solver": "logistic"}}},
            "finetune.head.solver: expected gradient with initial: source; or set initial: new; received 'logistic'",
        ),
        (
            {"finetune": {"head": {"initial": "new", "solver": "logistic", "hidden": [8]}}},
            "finetune.head.hidden: expected [] with solver: logistic; or set solver: gradient; received [8]",
        ),
        (
            {"finetune": {"head": {"initial": "new", "solver": "logistic", "dropout": 0.5}}},
            "finetune.head.dropout: expected 0.0 with solver: logistic; or set solver: gradient; received 0.5",
        ),
        (
            {"finetune": {"head": {"initial": "new", "solver": "logistic"}, "loss": {"label_smoothing": 0.1}}},
            "finetune.loss: expected label_smoothing: 0 with head.solver: logistic; or set head.solver: gradient",
        ),
        (
            {"extract": {"views": "fresh"}, "finetune": {"head": {"initial": "new", "solver": "logistic"}}},
            "finetune.head.solver: expected gradient, because extract.views: fresh stores no features; received "
            "logistic. Set it to gradient, or extract.views to a count.",
        ),
        (
            {"extract": {"augment": {"mixup": 0.2}}, "finetune": {"head": {"initial": "new", "solver": "logistic"}}},
            "finetune.head.solver: expected gradient, because extract.augment: mixup and cutmix make views of several "
            "classes; received logistic. Set it to gradient, or both to 0.",
        ),
        (
            {"finetune": {"head": {"initial": "new", "hidden": [4], "batchnorm": True}, "batch_size": 1}},
            "finetune.batch_size: expected 2 or more with head.batchnorm: true",
        ),
        ({"compute": {"devices": 0}}, "compute.devices: expected a count of 1 or more, or 'auto'; received 0"),
        (
            {"compute": {"frozen": "onnxruntime", "precision": "bfloat16"}},
            "compute.frozen: expected 'auto' or 'keras' with precision: bfloat16, which ONNX Runtime does not compute; "
            "received 'onnxruntime'",
        ),
        ({"compute": {"frozen": "onnx"}}, "compute.frozen: expected 'auto', 'onnxruntime' or 'keras'; received 'onnx'"),
        (
            {"split": {"val": 0}, "finetune": {"checkpoint": "last", "calibrate": "temperature"}},
            "finetune.calibrate: 'temperature' needs validation images, and split.val is 0. Set it to none.",
        ),
        (
            {"split": {"classes": [1, 2, 3], "val": 6}, "export": {"unknown": "mahalanobis"}},
            "export.unknown: expected 19 or more validation images, of which its limit may lose 5 %; received 18.",
        ),
        (
            {"export": {"unknown": "mahalanobis", "formats": ["keras"]}},
            "export.unknown: expected none with formats: keras; only onnx has an output for it",
        ),
        ({"split": {"val": 0}}, "finetune.checkpoint: 'best' needs validation images, and split.val is 0"),
        (
            {"split": {"val": 0}, "export": {"quantize": ["int8"]}},
            "export.quantize: expected [] without validation images",
        ),
        ({"export": {"quantize": ["int4"]}}, "export.quantize: expected a list of float16 and int8, or []"),
        (
            {"export": {"formats": ["keras"], "quantize": ["int8"]}},
            "export.quantize: expected [] with formats: keras; only onnx and litert are quantized",
        ),
        (
            {"split": {"source": "data/fetch/mnist"}},
            "split.source: data/fetch/mnist is fetched only when fetch.items lists mnist",
        ),
        (
            {"split": {"source": "data/fetch/digits"}},
            "pretrain.source: data/fetch/digits and split.source: data/fetch/digits contain the same images, so "
            "pretrain would learn test images. Expected another data set, a weights file, or pretrain.epochs: 0.",
        ),
        (
            {"pretrain": {"source": "data/export/model.keras", "backbone": "source"}},
            "pretrain.source: expected data/fetch/ITEM or data of your own; received data/export/model.keras, and "
            "export writes data/export. Copy what you need to data/own/, and set pretrain.source to the copy.",
        ),
        ({"split": {"source": "data/own/../split"}}, "received data/own/../split, and split writes data/split/"),
        (
            {"split": {"source": "data"}},
            "split.source: expected data/fetch/ITEM or data of your own; received data, and",
        ),
        ({"split": {"source": "data/own/cats"}}, "split.source: there is no data/own/cats. Put it there"),
        (
            {"pretrain": {"source": "data/fetch/mobilenet_v2"}},
            "there is no catalog item mobilenet_v2. Did you mean data/fetch/mobilenet_v2_imagenet?",
        ),
        ({"pretrain": {"source": "imagenet"}}, "there is no imagenet. Expected the weights of a backbone: data/fetch/"),
        ({"split": {"source": "cifar-10"}}, "there is no cifar-10. Did you mean data/fetch/cifar10?"),
        ({"fetch": {"items": ["digits", "paper_digits", "mist"]}}, "expected items of the catalog"),
        (
            {"split": {"seed": -1}, "export": {"formats": ["h5"]}},
            "export.formats: expected a list of one or more of onnx",
        ),
    ],
)
def test_each_mistake_is_named(here: Path, refused: Refusal, changes: dict[str, object], said: str) -> None:
    set_params(here, changes)
    assert said in refused(check.main)


@pytest.mark.parametrize(
    "learned", ["data/own/set", "data/own/other/../set", "data/own/link", "data/own", "data/own/set/a"]
)
def test_the_same_images_to_learn_and_to_test_with_are_refused_early(
    here: Path, refused: Refusal, learned: str
) -> None:
    for name in ("a", "b"):
        (here / "data/own/set" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(here / "data/own/set" / name / "1.png")
    (here / "data/own/other").mkdir()
    (here / "data/own/link").symlink_to(here / "data/own/set")
    set_params(here, {"split": {"source": "data/own/set"}, "pretrain": {"source": learned}})
    said = f"pretrain.source: {learned} and split.source: data/own/set contain the same images"
    assert said in refused(check.main)


def test_a_published_division_may_be_learned_and_tested_with(here: Path) -> None:
    for part, name in ((part, name) for part in ("train", "test") for name in ("a", "b")):
        (here / "data/own/set" / part / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(here / "data/own/set" / part / name / "1.png")
    set_params(here, {"split": {"source": "data/own/set"}, "pretrain": {"source": "data/own/set"}})
    check.main()


def test_mistakes_are_named_at_once(here: Path, refused: Refusal) -> None:
    set_params(
        here,
        {
            "fetch": {"items": ["digits", "paper_digits", "mist"]},
            "extract": {"freeze": "block77", "depths": ["all", "block99", 40]},
        },
    )
    said = refused(check.main)
    assert all(word in said for word in ("'mist'", "'block77'", "'block99'", "received 40"))
    set_params(here, {"compute": {"devices": 0}})
    said = refused(check.main)
    assert all(word in said for word in ("compute.devices", "'block77'", "'block99'", "received 40"))


def test_a_model_that_is_not_there_is_one_mistake(here: Path, refused: Refusal) -> None:
    set_params(here, {"pretrain": {"source": "data/own/mine.keras", "backbone": "source"}})
    said = "params.yaml: pretrain.source: there is no data/own/mine.keras. Put it there, or run `dvc pull`."
    assert refused(check.main).splitlines() == ["check: ", said]


def test_a_section_that_does_not_exist_is_named(here: Path, refused: Refusal) -> None:
    with (here / "params.yaml").open("a") as file:
        file.write("\nevalute:\n  x: 1\n")
    assert "params.yaml: evalute: unknown section. Expected one of: fetch, split" in refused(check.main)


@pytest.fixture
def repository(finished: Path, tmp_path: Path) -> Path:
    """A copy of the project whose graph has run."""
    return shutil.copytree(finished, tmp_path / "project", symlinks=True)


def flip(path: Path) -> None:
    """Change one bit, as a failing disk does: DVC sees the same time and the same size."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.st_mode)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def cached(folder: Path, path: Path) -> Path:
    md5 = hashlib.md5((folder / path).read_bytes()).hexdigest()
    return folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("data/split/train.parquet", "data"),
        ("data/own/digits/3", "cache"),
        ("data/finetune/head.onnx", "both"),
        ("data/own/digits/3", "both"),
    ],
)
def test_flipped_bits_are_found_and_the_remedy_heals(repository: Path, name: str, where: str) -> None:
    path = Path(name)
    if (repository / path).is_dir():
        path = min((repository / path).iterdir()).relative_to(repository)
    right, copy = (repository / path).read_bytes(), cached(repository, path)
    for damaged in {"data": [repository / path], "cache": [copy], "both": [repository / path, copy]}[where]:
        flip(damaged)
    assert "is valid" in run("python", "-m", "stages", "check", cwd=repository), "DVC and a quick look notice nothing"
    said = run("python", "-m", "stages", "check", "--data", cwd=repository, fails=True)
    assert str(path) in said
    if where == "both" and name.startswith("data/own"):
        assert "If it was pushed: rm -rf data/own/digits; dvc pull data/own/digits" in said
        return
    for line in filter(None, said.partition("check: ")[2].splitlines()):
        assert ": " in line
        run("bash", "-c", line.rpartition(": ")[2], cwd=repository)
    assert "data/ and DVC's cache are what their hashes say" in run(
        "python", "-m", "stages", "check", "--data", cwd=repository
    )
    assert (repository / path).read_bytes() == right
    assert ran(run("dvc", "repro", cwd=repository)) == []


def test_what_a_full_disk_cuts_is_named_with_its_remedy(repository: Path) -> None:
    lock = (repository / "dvc.lock").read_bytes()
    (repository / "dvc.lock").write_bytes(lock[:1000] + b"\n  - {")
    (repository / ".dvc" / "tmp" / "rwlock").write_text('{"read": {"/da')
    run("dvc", "repro", cwd=repository, fails=True)
    said = run("python", "-m", "stages", "check", cwd=repository, fails=True)
    assert ".dvc/tmp/rwlock is truncated, and DVC fails on it. If no other dvc is running: rm .dvc/tmp/rwlock" in said
    assert "dvc.lock is not what DVC writes" in said
    assert "Bring it back with `git checkout dvc.lock`." in said
    run("rm", ".dvc/tmp/rwlock", cwd=repository)
    run("git", "checkout", "dvc.lock", cwd=repository)
    assert ran(run("dvc", "repro", cwd=repository)) == []
