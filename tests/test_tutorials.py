"""The tutorials' recipes run from photographs to a report, with other images and random weights.

Their weights and archives are published elsewhere. Here each runs on a few small photographs, with a weights file made
in the published layout: that shows that the recipe works, not how well it learns.
"""

import json
import shutil
from pathlib import Path

import keras
import pytest

from stages import evaluate, extract, extract_test, finetune, pretrain, report, split
from stages.backbones.registry import BACKBONES
from stages.base.params import read_yaml
from stages.tools import recipe
from tests.conftest import PROJECT
from tests.helpers.copies import set_params
from tests.helpers.published import vary, write_published

FEW = {
    "split": {"classes": "all", "train": 4, "val": 2, "test": 4},
    "finetune": {"head": {"epochs": 1}, "thawed": {"epochs": 1}, "batch_size": 8},
}
# The recipe, how many of how many layers it freezes, where it keeps activations.
RECIPES = [
    ("horse_zebra_vgg16", 15, 19, "block4_pool"),
    ("cifar10_vgg16_finetune", 15, 19, "block4_pool"),
    ("cifar10_vgg16", 19, 19, "block5_pool"),
    ("cifar10_resnet50", 175, 175, "conv5_block3_out"),
    ("cats_dogs_inception", 281, 311, "mixed9"),
    ("cifar10_scratch", 0, 7, None),
    ("caltech101_three", 134, 154, "block_14_add"),
]
TWINS = ("cifar10_vgg16", "cifar10_vgg16_finetune")  # of horse_zebra_vgg16


@pytest.mark.parametrize(
    ("name", "frozen", "layers", "layer"),
    [pytest.param(*row, marks=pytest.mark.exhaustive if row[0] in TWINS else pytest.mark.slow) for row in RECIPES],
    ids=[row[0] for row in RECIPES],
)
def test_the_recipe_runs_on_other_photographs(
    name: str,
    frozen: int,
    layers: int,
    layer: str | None,
    tmp_path: Path,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photographs(shared, tmp_path / "data" / "own" / "photographs")
    shutil.copytree(PROJECT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["recipe", name])
    recipe.main()
    params = read_yaml(tmp_path / "params.yaml")["pretrain"]
    size = max(BACKBONES[params["backbone"]].smallest, 64)
    set_params(tmp_path, FEW)
    set_params(tmp_path, {"split": {"source": "data/own/photographs"}, "pretrain": {"image_size": size}})
    if params["source"].endswith("_imagenet"):
        weights = tmp_path / "data" / "own" / "weights.h5"
        backbone = BACKBONES[params["backbone"]].build(size).model
        vary(backbone)
        write_published(backbone.layers, weights)
        keras.backend.clear_session()
        set_params(tmp_path, {"pretrain": {"source": "data/own/weights.h5"}})
    else:
        set_params(tmp_path, {"pretrain": {"source": "data/own/photographs"}})
    for stage in (split, pretrain, extract, extract_test, finetune, evaluate, report):
        stage.main()
    boundary = json.loads((tmp_path / "data" / "extract" / "boundary.json").read_text())
    depth = boundary["depths"][0]
    assert (depth["frozen"], boundary["layers"], depth["layer"]) == (frozen, layers, layer)
    metrics = json.loads((tmp_path / "data" / "evaluate" / "metrics.json").read_text())
    assert metrics["images"] == {"train": 8, "val": 4, "test": 8, "left_out": 0}


def photographs(shared: Path, folder: Path) -> None:
    """Bring ten photographs of each of two classes."""
    for source in sorted((shared / "datasets" / "horses_zebras").iterdir()):
        if source.is_dir():
            (folder / source.name).mkdir(parents=True)
            for image in sorted(source.iterdir())[:10]:
                shutil.copyfile(image, folder / source.name / image.name)
