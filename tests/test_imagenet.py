"""predict --imagenet: a published classifier with its weights and the names of its classes, as Keras runs it."""

import hashlib
import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.applications import imagenet_utils
from keras.src.utils import file_utils
from PIL import Image

from stages.backbones.imagenet import CLASS_INDEX, CLASSES
from stages.backbones.registry import BACKBONES, classifier_item
from stages.downloads.catalog import DownloadItem, read_entry
from stages.downloads.http import RetryPolicy
from stages.fetch import fetch
from stages.tools import predict
from tests.conftest import PROJECT
from tests.helpers.published import vary, write_published

FIRST = {row.family.name: name for name, row in reversed(BACKBONES.items()) if not row.own}  # of each family
CATALOG = PROJECT / "stages" / "downloads" / "catalog.yaml"
QUICK = ("mobilenet_025", "mobilenet_v3_small")
INDEX = {str(place): [f"n{place}", f"class_{place}"] for place in range(1000)}


def predicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        predict.main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def build(name: str, **options: Any) -> keras.Model:
    row = BACKBONES[name]
    return getattr(keras.applications, row.constructor)(**options, **({"alpha": row.alpha} if row.alpha else {}))


@pytest.mark.filterwarnings("ignore:.*input_shape. is undefined")  # Keras of the sides that it then takes
@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in FIRST.values() if name not in QUICK)]
)
def test_the_catalog_has_the_weights_that_keras_loads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(file_utils, "get_file", lambda _, url, **given: asked.append((url, given.get("file_hash"))))
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_: None)
    build(name, weights="imagenet")
    entry = read_entry(CATALOG, classifier_item(name))
    assert isinstance(entry, DownloadItem)
    [file], [(url, checksum)] = entry.files, asked
    assert (file.urls, file.name) == ([url], url.rsplit("/", 1)[1])
    assert file.hash == (checksum and f"{'md5' if len(checksum) == 32 else 'sha256'}:{checksum}")


def test_each_hash_in_the_catalog_is_one_of_keras() -> None:
    source = "".join(path.read_text() for path in Path(imagenet_utils.__file__).parent.glob("*.py"))
    entries = [read_entry(CATALOG, classifier_item(name)) for name, row in BACKBONES.items() if not row.own]
    hashes = [entry.files[0].hash for entry in entries if isinstance(entry, DownloadItem)]
    known = [checksum.partition(":")[2] for checksum in hashes if checksum]
    assert len(hashes) == len(entries)
    assert len(known) > 30
    assert [checksum for checksum in known if checksum not in source] == []


def test_the_catalog_has_the_names_that_keras_loads() -> None:
    entry = read_entry(CATALOG, CLASSES)
    assert isinstance(entry, DownloadItem)
    [file] = entry.files
    assert (file.name, file.urls) == (CLASS_INDEX, [imagenet_utils.CLASS_INDEX_PATH])
    assert file.hash is not None
    assert file.hash.removeprefix("md5:") in inspect.getsource(imagenet_utils.decode_predictions)


def test_it_names_what_keras_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    Image.fromarray(image).save("noise.png")
    code, out, err = predicted(monkeypatch, capsys, "noise.png", "--imagenet", "mobilenet_025")
    assert (code, out) == (2, "")
    assert "add mobilenet_025_imagenet_top, imagenet_classes to fetch.items" in err
    assert "`dvc repro fetch@mobilenet_025_imagenet_top fetch@imagenet_classes`, or pass a weights file" in err

    keras.utils.set_random_seed(0)
    network = build("mobilenet_025", weights=None)
    vary(network)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    write_published(network.layers, mirror / "weights.h5")
    (mirror / CLASS_INDEX).write_text(json.dumps(INDEX))
    for item, file in ((classifier_item("mobilenet_025"), "weights.h5"), (CLASSES, CLASS_INDEX)):
        digest = hashlib.md5((mirror / file).read_bytes()).hexdigest()
        urls = ["https://example.org/missing"]
        files = [{"name": file, "hash": f"md5:{digest}", "urls": urls}]
        entry = DownloadItem.model_validate({"kind": "download", "files": files})
        fetch(item, entry, Path("data/fetch"), str(mirror), RetryPolicy())
    capsys.readouterr()

    rows = network.predict_on_batch(keras.applications.mobilenet.preprocess_input(image[None].astype("float32")))
    best = np.argsort(-rows[0])[:5]
    code, out, err = predicted(monkeypatch, capsys, "noise.png", "--imagenet", "mobilenet_025", "--json")
    [result] = json.loads(out)
    assert (code, err) == (0, "")
    assert [each["class"] for each in result["top"]] == [f"class {place}" for place in best]
    np.testing.assert_allclose([each["probability"] for each in result["top"]], rows[0][best], atol=2e-6)

    shutil.rmtree("data/fetch/mobilenet_025_imagenet_top")
    named = ("noise.png", "--imagenet", "mobilenet_025", "--weights", mirror / "weights.h5")
    monkeypatch.setenv("COLUMNS", "60")
    lines = predicted(monkeypatch, capsys, *named)[1].splitlines()
    assert lines[0].split() == ["image", "class", "probability"]  # one a line, for five do not fit side by side
    assert lines[1].startswith("noise.png  class ")
    assert [len(line.split()) for line in lines[2:]] == [3] * 4

    code, _, err = predicted(monkeypatch, capsys, "noise.png", "--imagenet", "mobilenet_050", *named[3:])
    assert code == 2
    assert "with its classifier, not 'no_top'" in err

    code, _, err = predicted(monkeypatch, capsys, "noise.png", "--weights", mirror / "weights.h5")
    assert (code, err) == (2, "predict: --weights: expected with --imagenet BACKBONE, whose weights they are.\n")
    code, _, err = predicted(monkeypatch, capsys, "noise.png", "--model", "copied", "--imagenet", "mobilenet_025")
    assert code == 2
    assert "not allowed with argument" in err


def test_it_names_what_photographs_show(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    index = tmp_path / "data" / "fetch" / CLASSES / CLASS_INDEX
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps(INDEX | {"340": ["n02391049", "zebra"], "339": ["n02389026", "sorrel"]}))
    photographs = shared / "datasets" / "horses_zebras"
    images = [photographs / "zebra" / "n02391049_2586.jpg", photographs / "horse" / "n02381460_643.jpg"]
    weights = shared / "mirror" / "mobilenet_2_5_224_tf.h5"
    options = ("--imagenet", "mobilenet_025", "--weights", weights, "--json")
    results = json.loads(predicted(monkeypatch, capsys, *images, *options)[1])
    assert [(result["class"], result["probability"] > 0.9) for result in results] == [("zebra", True), ("sorrel", True)]
