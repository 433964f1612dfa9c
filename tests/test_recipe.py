"""recipe: lists what there is, writes one into params.yaml, says what changed, and loses nobody's edits."""

import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.backbones.registry import BACKBONES, find_backbone
from stages.base.params import read_yaml, validate
from stages.base.splits import SPLITS
from stages.compute.architecture import Architecture
from stages.compute.networks import build_head
from stages.compute.trainable import get_values
from stages.pipeline.recipes import apply_recipe
from stages.schema.finetune import Finetune
from stages.splitting.amounts import check_amounts, count_images
from stages.tools import recipe
from stages.tools.check import SECTIONS
from stages.transfer.freeze import layer_table, resolve_depths
from tests.conftest import PROJECT
from tests.helpers.copies import copy_project, set_params

RECIPES = sorted(path.stem for path in (PROJECT / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("recipes") / "project")


@pytest.fixture
def here(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(repository, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", *arguments])
    recipe.main()


def test_the_list_says_what_each_is(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == RECIPES
    assert all(len(line.split(maxsplit=1)[1]) > 30 for line in lines)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_valid_experiment_with_its_comments(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    call(monkeypatch, name)
    params, default = read_yaml(here / "params.yaml"), (here / "recipes" / "default.yaml").read_text()
    for section, schema in SECTIONS.items():
        validate(params[section], section, schema)
    written, known = ((here / path).read_text().splitlines() for path in ("params.yaml", f"recipes/{name}.yaml"))
    comments = [line for line in default.splitlines() if line.strip().startswith("#")]
    assert [line for line in written if line.strip().startswith("#")] == [known[0], *comments[1:]]
    capsys.readouterr()
    call(monkeypatch, "default")
    assert (here / "params.yaml").read_text() == default


def test_it_says_what_changed(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, "from_scratch")
    said = capsys.readouterr().out
    assert "pretrain.epochs: 15 → 0\n" in said
    assert "extract.freeze: -2 → none\n" in said
    call(monkeypatch, "from_scratch")
    assert capsys.readouterr().out == "params.yaml is recipe from_scratch already.\n"


def test_edits_that_are_not_committed_are_kept_unless_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_params(here, {"split": {"seed": 77}})
    mine = (here / "params.yaml").read_text()
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, "from_scratch")
    assert stopped.value.code == 1
    assert "edits that are not committed" in capsys.readouterr().err
    assert (here / "params.yaml").read_text() == mine
    call(monkeypatch, "from_scratch", "--overwrite")
    assert "split.seed: 77 → 1" in capsys.readouterr().out


def test_committed_edits_and_other_recipes_are_safe_to_leave(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, "from_scratch")
    call(monkeypatch, "mnist_own_digits")
    set_params(here, {"split": {"seed": 77}})
    subprocess.run(["git", "commit", "-qam", "Another seed"], check=True)
    call(monkeypatch, "default")


@pytest.mark.parametrize("name", ["mnist_own_digit", "nothing"])
def test_an_unknown_recipe_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(SystemExit):
        call(monkeypatch, name)
    said = capsys.readouterr().err
    assert f"there is no recipe '{name}'" in said
    assert "mnist_own_digits" in said


# Trainable parameters of the head, and of the thawed layers, by recipe. Where a tutorial has another number, the recipe
# says so: BatchNormalization stays in inference mode, two classes may have two logits, and depths may differ.
TRAINABLE = {
    "caltech101_three": (12_810, 1_194_880),
    "cats_dogs_inception": (1_182_209, 5_152_768),
    "cats_dogs_mobilenet_v2": (2_562, 1_663_360),
    "cifar10_mobilenet_96": (12_810, 2_137_792),
    "cifar10_mobilenet_native": (165_258, 2_189_760),
    "cifar10_resnet50": (527_114, 0),
    "cifar10_scratch": (17_802, 93_248),
    "cifar10_vgg16": (133_898, 0),
    "cifar10_vgg16_finetune": (133_898, 7_079_424),
    "default": (1_290, 692_352),
    "from_scratch": (1_290, 692_672),
    "horse_zebra_mobilenet_v2": (2_562, 1_194_880),
    "horse_zebra_vgg16": (2_097_922, 7_079_424),
    "mnist_own_digits": (1_290, 0),
    "mnist_own_digits_from_scratch": (1_290, 692_672),
    "mobilenet_own_digits": (165_258, 2_137_792),
    "own_photographs_mobilenet_v2": (2_562, 1_663_360),
}
CLASSES = {"cats_dogs": 2, "horse_zebra": 2, "own_photographs": 2}  # ten elsewhere
LARGE = ("cats_dogs_inception", "cifar10_resnet50")  # networks that take seconds to build


@cache
def architecture_of(backbone: str, side: int) -> Architecture:
    return find_backbone(backbone, side).build(side).architecture


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in RECIPES]
)
def test_each_recipe_trains_as_many_parameters_as_it_should(name: str) -> None:
    texts = [(PROJECT / "recipes" / f"{each}.yaml").read_text() for each in ("default", name)]
    params = YAML(typ="safe").load(apply_recipe(*texts, name))
    backbone, side, extract = params["pretrain"]["backbone"], params["pretrain"]["image_size"], params["extract"]
    if extract["pooling"] == "average" and not BACKBONES[backbone].own:  # as many at any size
        side = BACKBONES[backbone].smallest
    architecture = architecture_of(backbone, side)
    classes = next((count for start, count in CLASSES.items() if name.startswith(start)), 10)
    finetune = validate(params["finetune"], "finetune", Finetune)
    options = finetune.head.model_dump(include={"hidden", "dropout", "batchnorm", "output"})
    head = build_head(architecture.features(extract["pooling"]), classes=classes, **options)
    frozen = resolve_depths(architecture, extract["freeze"], [])[0].frozen
    layers = layer_table(architecture, frozen, finetune.thawed.batchnorm == "train")
    thawed = int(layers.loc[layers["state"] == "thawed", "parameters"].sum()) if finetune.thawed.epochs else 0
    assert (sum(weight.size for weight in get_values(head.trainable_variables)), thawed) == TRAINABLE[name]


def test_twenty_own_photographs_a_class_suffice() -> None:
    split = read_yaml(PROJECT / "recipes" / "own_photographs_mobilenet_v2.yaml")["split"]
    amounts = {name: split[name] for name in SPLITS}
    check_amounts(amounts, ())
    assert count_images(amounts, 20, "cat", None, Counter()) == {"train": 12, "val": 4, "test": 4}
