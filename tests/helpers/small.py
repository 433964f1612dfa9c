"""A small project folder: pictures of bars in class folders, and few epochs. Stages run in it within seconds."""

from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from tests.conftest import PROJECT
from tests.helpers.copies import set_params
from tests.helpers.miniature import pictures

FEW = {
    "split": {"source": "data/own/bars", "form": "photo", "polarity": "light_on_dark", "train": 8, "val": 4},
    "pretrain": {"source": "data/own/other_bars", "image_size": 16, "epochs": 2},
    "extract": {"views": 2},
    "finetune": {"head": {"initial": "new", "epochs": 3}, "thawed": {"epochs": 3}},
}


def prepared_project(folder: Path, *stages: ModuleType) -> Path:
    """Make the project in ``folder``, run ``stages`` there, and come back."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        small_project(folder, monkeypatch)
        for stage in stages:
            stage.main()
    return folder


def small_project(folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object] | None = None) -> Path:
    """Make the project in ``folder`` and go there; ``changes`` of params.yaml come on top of FEW."""
    for name, seed in (("bars", 0), ("other_bars", 1)):
        pixels, labels = pictures(60, seed=seed)
        for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            path = folder / "data" / "own" / name / ("across", "upright")[label] / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.squeeze(-1)).save(path)
    (folder / "params.yaml").write_text(
        (PROJECT / "recipes" / "default.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    set_params(folder, FEW)
    set_params(folder, changes or {})
    monkeypatch.chdir(folder)
    return folder
