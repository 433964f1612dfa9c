"""Predict: what it prints, where, and how it ends, whatever it is given. The model is a file that ONNX Runtime runs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from stages.formats.card import Card, read_card, write_card
from stages.images.contract import Contract
from stages.tools import predict

CONTRACT = Contract(size=8, channels=3, form="photo", polarity="light_on_dark", fit="stretch")
COLORS = {"red": (200, 20, 10), "green": (10, 200, 20), "blue": (20, 10, 200)}

Predict = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model that says which color an image has: softmax(average of each channel / 50)."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["means", "fifty"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 8, 8, 3])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])
    fifty = numpy_helper.from_array(np.array(50, np.float32), "fifty")
    graph = helper.make_graph(nodes, "colors", [pixels], [probabilities], [fifty])
    folder = tmp_path_factory.mktemp("export")
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / "model.onnx")
    write_card(folder, Card(list(COLORS), CONTRACT, ["onnx"]))
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> Predict:
    """Run predict with the model; return exit code, stdout and stderr. The working folder is empty."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path, folder: Path | None = model) -> tuple[int, str, str]:
        options = [] if folder is None else ["--model", str(folder)]
        monkeypatch.setattr(sys, "argv", ["predict", *options, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            predict.main()
        code = ended.value.code
        assert isinstance(code, int)
        return (code, *capfd.readouterr())

    return call


def image(path: Path | str, color: str = "red") -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), COLORS[color]).save(path, "png")
    return Path(path)


def test_paper_without_handwriting_is_named(run: Predict, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    shutil.copytree(model, folder)
    write_card(folder, Card(list(COLORS), replace(CONTRACT, form="ink", polarity="dark_on_light"), ["onnx"]))
    code, stdout, stderr = run(image("blank.png"), folder=folder)
    assert (code, stdout, stderr) == (1, "", "predict: blank.png: no handwriting found\n")


def test_a_table_of_image_class_and_probability(run: Predict) -> None:
    names = [image("one.png", "red"), image("folder/number two.jpg", "blue"), image("3.png", "green")]
    code, stdout, stderr = run(*names)
    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == [
        "image                  class  probability",
        "one.png                red    0.9527",
        "folder/number two.jpg  blue   0.9527",
        "3.png                  green  0.9527",
    ]


def test_top_shows_the_runners_up(run: Predict) -> None:
    code, stdout, _ = run(image("one.png"), "--top", "2")
    assert code == 0
    assert [line.split() for line in stdout.splitlines()] == [
        ["image", "class", "probability", "class", "probability"],
        ["one.png", "red", "0.9527", "green", "0.0260"],
    ]
    assert len(run("one.png", "--top", "9")[1].splitlines()[1].split()) == 7, "three classes are all there are"
    assert run("one.png", "--top", "0")[0] == 2


def test_json_is_a_list_that_holds_what_the_table_holds(run: Predict) -> None:
    image("one.png", "red")
    Path("bad.png").write_bytes(b"")
    code, stdout, stderr = run("one.png", "bad.png", "--json", "--top", "3")
    (entry,) = json.loads(stdout)
    assert (entry["image"], entry["class"], entry["probability"]) == ("one.png", "red", pytest.approx(0.9527, abs=1e-4))
    assert [each["class"] for each in entry["top"]] == ["red", "green", "blue"]
    assert sum(each["probability"] for each in entry["top"]) == pytest.approx(1, abs=1e-5)
    assert (code, stderr) == (1, "predict: bad.png: empty file\n")
    assert json.loads(run("bad.png", "--json")[1]) == []


def test_unreadable_files_are_reported_and_do_not_stop_the_others(run: Predict) -> None:
    image("good.png")
    Path("text.png").write_text("no image")
    os.mkfifo("pipe.png")
    code, stdout, stderr = run("missing.png", "text.png", "pipe.png", "good.png")
    assert code == 1
    assert [line.split()[0] for line in stdout.splitlines()] == ["image", "good.png"]
    reasons = dict(line.removeprefix("predict: ").split(": ", 1) for line in stderr.splitlines())
    assert reasons["missing.png"] == "no such file or directory"
    assert reasons["text.png"].startswith("not an image")
    assert reasons["pipe.png"] == "not a regular file"
    assert len(reasons) == 3


def test_a_folder_means_the_images_in_it_whatever_their_names(run: Predict) -> None:
    names = ("b.png", "a.JPEG", "c.gif", "d.jfif", "without suffix", ".hidden.png", "below/d.png")
    for name in names:
        image(f"mine/{name}")
    Path("mine/notes.txt").write_text("not meant")
    os.mkfifo("mine/pipe")
    code, stdout, stderr = run("mine")
    read = [line.split("  ")[0] for line in stdout.splitlines()[1:]]
    assert read == ["mine/a.JPEG", "mine/b.png", "mine/c.gif", "mine/d.jfif", "mine/without suffix"]
    assert (code, stderr) == (
        0,
        "predict: left out 2 (not images): mine/notes.txt, mine/pipe\n"
        "predict: left out 1 (folders below (add --recursive)): mine/below\n",
    )
    Path("mine/below/back").symlink_to("..")
    code, stdout, stderr = run("mine", "--recursive")
    assert [line.split("  ")[0] for line in stdout.splitlines()[1:]] == sorted([*read, "mine/below/d.png"])
    assert (code, stderr) == (0, "predict: left out 2 (not images): mine/notes.txt, mine/pipe\n")
    Path("mine/broken.png").write_text("broken")
    assert run("mine")[0] == 1, "what has the name of an image is one that cannot be read"
    Path("empty").mkdir()
    assert run("empty") == (1, "", "predict: found no images\n")


def test_an_image_on_standard_input(model: Path, project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stages", "predict", "-", "--model", str(model)]
    options: dict[str, Any] = {"env": os.environ | {"PYTHONPATH": str(project)}, "capture_output": True, "check": False}
    content = image(tmp_path / "one", "blue").read_bytes()
    process = subprocess.run(command, cwd=tmp_path, input=content, **options)
    assert process.stdout.split() == b"image class probability - blue 0.9527".split()
    process = subprocess.run(command, cwd=tmp_path, input=b"", **options)
    assert (process.returncode, process.stderr) == (1, b"predict: -: empty file\n")


def test_more_images_than_are_run_at_once_stay_in_order(run: Predict) -> None:
    colors = [list(COLORS)[number % 3] for number in range(40)]
    names = [image(f"{number:02}.png", color) for number, color in enumerate(colors)]
    lines = run(*names)[1].splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [[f"{n:02}.png", color] for n, color in enumerate(colors)]


def test_names_of_every_kind(run: Predict) -> None:
    """Twice the same, other scripts, bytes that are no text, characters that steer a terminal, longer than any line."""
    strange = os.fsdecode(b"\xff\xfe.png")
    deep = "/".join(["a folder with a long name"] * 20) + "/end.png"
    names = ["Käse-手書き.png", "new\nline\x1b[31m.png", strange, deep, "x.png", "x.png"]
    for name in names:
        image(name)
    code, stdout, stderr = run(*names)
    assert (code, stderr) == (0, "")
    lines = stdout.splitlines()
    assert len(lines) == 7
    assert lines[1].startswith("Käse-手書き.png ")
    assert lines[2].startswith("new\\nline\\x1b[31m.png ")
    assert lines[3].startswith("\\udcff\\udcfe.png ")
    assert lines[4].startswith("…")
    assert " name/end.png " in lines[4]
    assert len(lines[4]) < 100
    assert lines[5] == lines[6]
    places = {line.index("red") for line in lines[2:]} | {
        lines[1].index("red") + 3
    }  # 手書き: six columns, three letters
    assert len(places) == 1, "the classes stand in line"
    entries = json.loads(run(*names, "--json")[1])
    assert [entry["image"] for entry in entries] == names
    code, stdout, stderr = run("y" * 5000 + ".png", "x.png")
    assert (code, len(stdout.splitlines())) == (1, 2)
    assert stderr.endswith(": file name too long\n")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: shutil.rmtree(folder), "holds no exported model. Run `dvc repro export`, or `dvc pull`."),
        (lambda folder: (folder / "model.json").unlink(), "holds no exported model. Run `dvc repro export`"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json: expected JSON that can be read"),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff"), "model.json: expected JSON that can be read"),
        (lambda folder: (folder / "model.json").write_text("[1]"), "expected classes, contract and formats"),
        (
            lambda folder: (folder / "model.json").write_text('{"architecture": {}}'),
            "expected classes, contract and formats",
        ),
        (lambda folder: edit(folder, "contract", size=0), "expected classes, contract and formats"),
        (lambda folder: edit(folder, "contract", form="scribble"), "expected classes, contract and formats"),
        (lambda folder: edit(folder, "contract", size=9), "from uint8 (n, 9, 9, 3) to 3 classes"),
        (lambda folder: (folder / "model.onnx").unlink(), "expected model.onnx beside model.json, received none."),
        (
            lambda folder: (folder / "model.onnx").write_bytes(b"nothing"),
            "model.onnx: expected a model of the format onnx, received a",
        ),
        (
            lambda folder: (folder / "model.onnx").write_bytes(b""),
            "model.onnx: expected a model of the format onnx, received a",
        ),
    ],
)
def test_no_model_or_a_broken_one_ends_with_one_line(
    break_it: Callable[[Path], Any], said: str, run: Predict, model: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    break_it(copy)
    code, stdout, stderr = run(image("one.png"), folder=copy)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert stderr.startswith("predict: ")
    assert said in stderr


def edit(folder: Path, section: str, **values: Any) -> None:
    content = json.loads((folder / "model.json").read_text())
    content[section] |= values
    (folder / "model.json").write_text(json.dumps(content))


def test_without_a_model_option_it_takes_the_projects_export(run: Predict, model: Path) -> None:
    code, _, stderr = run(image("one.png"), folder=None)
    assert (code, stderr) == (
        2,
        "predict: data/export holds no exported model. Run `dvc repro export`, or `dvc pull`.\n",
    )
    shutil.copytree(model, "data/export")
    assert run("one.png", folder=None)[:2] == (0, "image    class  probability\none.png  red    0.9527\n")


def test_a_file_of_the_model_is_used_alone(run: Predict, model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    card = read_card(copy)
    write_card(copy, replace(card, formats=["onnx", "onnx_int8"]))
    smaller = onnx.load(copy / "model.onnx")
    smaller.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(500, np.float32), "fifty"))
    onnx.save(smaller, copy / "model.int8.onnx")
    line = "image    class  probability\none.png  red    {}\n"
    assert run(image("one.png"), folder=copy)[1] == line.format("0.9527")
    assert run("one.png", folder=copy / "model.onnx")[1] == line.format("0.9527")
    assert run("one.png", folder=copy / "model.int8.onnx")[1] == line.format("0.4199")
    code, _, stderr = run("one.png", folder=copy / "model.tflite")
    assert (code, stderr.count("\n")) == (2, 1)
    assert "expected model.tflite beside model.json" in stderr


def test_every_awkward_file_is_read_or_reported(run: Predict, shared: Path) -> None:
    files = sorted((shared / "datasets/awkward").iterdir())
    code, stdout, stderr = run(*files)
    assert code == 1
    read = [line.split()[0].rsplit("/", 1)[-1] for line in stdout.splitlines()[1:]]
    unread = [line.removeprefix("predict: ").split(": ")[0].rsplit("/", 1)[-1] for line in stderr.splitlines()]
    assert sorted(read + unread) == [file.name for file in files], "a line for each file and nothing else"
    assert {"broken.png", "decompression_bomb.gif", "truncated_jpeg.jpg", "png_decompression_dos.png"} <= set(unread)
    assert {"hopper.webp", "16bit.cropped.tif", "pil_sample_cmyk.jpg", "iss634.gif", "exif_landscape_6.jpg"} <= set(
        read
    )
    assert all(line.split(": ", 2)[2].strip() for line in stderr.splitlines()), "each has its reason"


def test_the_command_starts_without_tensorflow(model: Path, project: Path, tmp_path: Path) -> None:
    image(tmp_path / "one.png", "green")
    code = (
        "import runpy, sys\n"
        "sys.argv.insert(1, 'predict')\n"
        "try: runpy.run_module('stages', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(sorted({'tensorflow', 'keras', 'ai_edge_litert', 'pandas'} & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, "one.png", "--model", str(model)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.stderr == ""
    assert process.stdout.splitlines()[1:] == ["one.png  green  0.9527", "[]"]


def test_what_speaks_for_a_class_is_drawn(run: Predict, tmp_path: Path) -> None:
    images = [image("a/one.png"), image("b/one.png", "blue")]
    code, stdout, stderr = run(*images, "--explain", "maps")
    assert (code, stderr) == (0, "predict: wrote 2 class activation maps into maps\n")
    assert "blue" in stdout
    written = sorted((tmp_path / "maps").iterdir())
    assert [path.name for path in written] == ["one_2_explained.jpg", "one_explained.jpg"]
    with Image.open(written[0]) as picture:
        assert picture.size == (510, 340)
    code, stdout, stderr = run(*images, "--explain", images[0])
    assert (code, stdout) == (2, "")
    assert "--explain: expected a folder; a/one.png: file exists" in stderr
