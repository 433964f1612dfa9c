"""The page that runs a model in the browser: its pixels are Python's, and so are its labels.

Node runs the JavaScript that needs no browser. The slow tests open the page in Chromium.
"""

import fcntl
import io
import json
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageFilter
from PIL.PngImagePlugin import PngInfo

from stages.base.errors import UserError
from stages.browser.build import build_page
from stages.browser.runtime import FILES, VERSION, provide_runtime
from stages.browser.serve import open_server
from stages.formats.card import Card, write_card
from stages.formats.runner import Runner
from stages.images.contract import Contract
from stages.images.load import load
from stages.tools import demo
from tests.conftest import PROJECT, Refusal
from tests.helpers.browser import READY, Page, find_chromium, open_browser, read_results
from tests.helpers.drawn_paper import draw_paper

NAMES = ["cat", "Käse", "کتابخانه", "日本語", "dog", "horse", "a_long_name_" * 8, "zebra", "<b>", "watch"]
PHOTO = Contract(size=28, channels=3, form="photo", polarity="light_on_dark", fit="stretch")
CONTRACTS = [
    PHOTO,
    Contract(size=16, channels=1, form="photo", polarity="dark_on_light", fit="pad"),
    Contract(size=31, channels=3, form="photo", polarity="light_on_dark", fit="crop", range=(100, 4095)),
]
INK = Contract(size=28, channels=1, form="ink", polarity="dark_on_light", fit="stretch")
# Probabilities in the browser and in Python differ by less than this, most for JPEG files that Python decodes at a
# smaller size. So two classes that are this close together may change places.
BOUND = 5e-3


@pytest.fixture
def node() -> str:
    path = shutil.which("node")
    if path is None:
        pytest.skip("needs Node.js, which runs the page's JavaScript here")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of random weights, whose classes depend on colors and edges; light images are unknown to it."""
    return make_model(tmp_path_factory.mktemp("export"), PHOTO)


def make_model(folder: Path, contract: Contract) -> Path:
    random = np.random.default_rng(1)
    side, channels = contract.size, contract.channels
    weights = {
        "scale": np.array(1 / 255, np.float32),
        "kernel": random.normal(size=(24, channels, 3, 3)).astype(np.float32),
        "head": random.normal(size=(24, len(NAMES))).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["edges"]),
        helper.make_node("ReduceMean", ["edges"], ["features"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["features", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("ReduceMean", ["scaled"], ["light"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Add", ["light", "light"], ["distance"]),
    ]
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", side, side, channels])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(NAMES)]),
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["n"]),
        ],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / "model.onnx")
    write_card(folder, Card(NAMES, contract, ["onnx"], {"source": "random weights"}, unknown={"output": "distance"}))
    return folder


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Blurred noise in color."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def png_files(folder: Path) -> list[Path]:
    """Write PNG files of every kind: colors, bit depths, transparency, interlacing, orientation, shapes."""
    random = np.random.default_rng(2)
    noise = random.integers(0, 256, (50, 33, 4), dtype=np.uint8)
    wide, tall, tiny = picture(97, 41), picture(35, 120), picture(7, 5)
    palette = wide.quantize(100)
    turned = {f"turned {value}": (wide, {"exif": orientation(value)}) for value in range(1, 9)}
    images: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "color": (wide, {}),
        "tall": (tall, {}),
        "tiny": (tiny, {}),
        "right size": (picture(28, 28), {}),
        "gray": (tall.convert("L"), {}),
        "gray, one value transparent": (wide.convert("L"), {"transparency": wide.convert("L").getpixel((0, 0))}),
        "color, one transparent": (wide, {"transparency": wide.getpixel((0, 0))}),
        "gray and alpha": (Image.fromarray(noise[..., :2].copy(), "LA"), {}),
        "color and alpha": (Image.fromarray(noise), {}),
        "palette": (palette, {}),
        "palette of 4 bits": (wide.quantize(9), {"bits": 4}),
        "palette of 2 bits": (wide.quantize(4), {"bits": 2}),
        "palette and alpha": (palette, {"transparency": bytes(range(100))}),
        "black and white": (wide.convert("1"), {}),
        "16 bits": (Image.fromarray(random.integers(0, 65536, (40, 30), dtype=np.uint16)), {}),
        **turned,
    }
    for name, (image, options) in images.items():
        image.save(folder / f"{name}.png", **options)
    profile = PngInfo()
    profile.add_text("Raw profile type exif", f"\nexif\n 8\n{orientation(6).tobytes().hex()}", zip=True)
    wide.save(folder / "turned by ImageMagick.png", pnginfo=profile)
    (folder / "interlaced.png").write_bytes(interlaced(np.asarray(picture(21, 13).convert("L"))))
    return sorted(folder.glob("*.png"))


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def interlaced(gray: np.ndarray) -> bytes:
    """Return a PNG file in Adam7's seven passes, which Pillow reads but does not write."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [row for top, left, down, across in passes for row in gray[top::down, left::across] if row.size]
    header = struct.pack(">IIBBBBB", gray.shape[1], gray.shape[0], 8, 0, 0, 0, 1)
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [(b"IHDR", header), (b"IDAT", lines), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def handwriting(ruled: bool) -> Image.Image:
    """A drawn digit on paper in a shadow, with or without printed lines."""
    shade = np.linspace(235, 150, 150)[:, None, None] * np.ones((1, 130, 3))
    image = Image.fromarray((shade + np.random.default_rng(3).normal(0, 3, shade.shape)).astype(np.uint8))
    if ruled:
        image = draw_paper(image, "squared", np.random.default_rng(4))
    draw = ImageDraw.Draw(image)
    for start, end in pairwise([(40, 35), (85, 38), (60, 70), (83, 95), (55, 120), (38, 108)]):
        draw.line((*start, *end), fill=(40, 40, 70), width=5)
    return image.filter(ImageFilter.GaussianBlur(1))


def run_node(node: str, cases: list[tuple[Path, Contract]], out: Path) -> Iterator[np.ndarray]:
    """Yield the pixels that JavaScript makes of PNG files."""
    said = [
        {"file": str(file), "contract": asdict(contract), "out": str(out / f"{number}.raw")}
        for number, (file, contract) in enumerate(cases)
    ]
    command = [node, str(PROJECT / "tests" / "helpers" / "pixels.mjs"), str(PROJECT / "stages" / "browser")]
    subprocess.run(command, input=json.dumps(said), text=True, check=True)
    for one in said:
        yield np.fromfile(str(one["out"]), np.uint8)


def test_pixels_of_png_files_are_those_of_python(node: str, tmp_path: Path) -> None:
    cases = [(file, contract) for file in png_files(tmp_path) for contract in CONTRACTS]
    for (file, contract), pixels in zip(cases, run_node(node, cases, tmp_path), strict=True):
        expected = load(file.read_bytes(), contract).ravel()
        assert np.array_equal(pixels, expected), f"{file.name}, {contract}"


def test_ink_is_that_of_python(node: str, tmp_path: Path) -> None:
    for ruled in (False, True):
        handwriting(ruled).save(tmp_path / f"{ruled}.png")
    cases = [(tmp_path / f"{ruled}.png", INK) for ruled in (False, True)]
    for (file, _), pixels in zip(cases, run_node(node, cases, tmp_path), strict=True):
        assert np.array_equal(pixels, load(file.read_bytes(), INK).ravel()), file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with files in place of ONNX Runtime."""
    monkeypatch.chdir(tmp_path)
    runtime = Path("data") / f".onnxruntime-web-{VERSION}"
    runtime.mkdir(parents=True)
    for name in FILES:
        (runtime / name).write_bytes(name.encode())
    return tmp_path


def test_the_page_holds_all_that_it_needs(here: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["demo", str(model), "--no-serve"])
    demo.main()
    page = here / "data" / "demo"
    assert {"index.html", "model.onnx", "model.json"} <= {path.name for path in page.iterdir()}
    for file in (*page.glob("*.js"), page / "index.html"):
        text = file.read_text(encoding="utf-8")
        assert "://" not in text, f"{file.name} names another server"
        for name in [part.split('"')[0] for part in text.split('from "./')[1:]]:
            assert (page / name).is_file(), f"{file.name} imports {name}"


def test_a_model_without_onnx_is_refused_in_a_line(
    here: Path, refused: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_card(here, Card(NAMES, PHOTO, ["litert"]))
    monkeypatch.setattr(sys, "argv", ["demo", str(here)])
    assert refused(demo.main) == (
        f"demo: {here}: expected the format onnx, which browsers run; received litert. Add onnx to export.formats, and "
        "run `dvc repro export`.\n"
    )
    monkeypatch.setattr(sys, "argv", ["demo"])
    assert "data/export holds no exported model. Run `dvc repro export`" in refused(demo.main)


def test_another_package_than_the_published_one_is_refused(tmp_path: Path) -> None:
    package, runtime = tmp_path / "other.tgz", tmp_path / "runtime"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(__file__, f"package/dist/{FILES[0]}")
    with pytest.raises(UserError, match=r"expected the npm package onnxruntime-web@[\d.]+ \(sha512-.*other bytes"):
        provide_runtime(runtime, package)
    assert not runtime.exists()


def test_npm_is_asked_for_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"expected npm.*pip install -e '\.\[browser\]'.*--runtime FILE"):
        provide_runtime(tmp_path / "runtime", None)


def test_files_have_the_types_that_browsers_insist_on(tmp_path: Path) -> None:
    types = {"a.js": "text/javascript", "a.mjs": "text/javascript", "a.wasm": "application/wasm"}
    for name in types:
        (tmp_path / name).write_bytes(b"x")
    with open_server(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, kind in types.items():
            answer = requests.get(f"http://127.0.0.1:{server.server_port}/{name}", timeout=10)
            assert answer.headers["Content-Type"] == kind
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        with pytest.raises(UserError, match=r"--port \d+: address already in use"):
            open_server(tmp_path, server.server_port)
        server.shutdown()


def test_ctrl_c_ends_it_in_a_line(here: Path, model: Path) -> None:
    command = [sys.executable, "-m", "stages", "demo", str(model)]
    environment = {"PYTHONPATH": str(PROJECT), "PATH": ""}
    with subprocess.Popen(command, cwd=here, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "with the model and ONNX Runtime" in process.stdout.readline()
        address = process.stdout.readline().split()[0]
        assert requests.get(f"{address}model.json", timeout=10).json()["classes"] == NAMES
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "demo: ended.\n"
        assert process.wait() == 0


@pytest.fixture(scope="module")
def tools(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """Chromium and ONNX Runtime for browsers."""
    cache = request.config.cache.mkdir("browser")
    runtime = cache / f"onnxruntime-web-{VERSION}"
    with (cache / "lock").open("w") as lock:  # one process of pytest-xdist downloads
        fcntl.flock(lock, fcntl.LOCK_EX)
        chromium = find_chromium(cache)
        try:
            provide_runtime(runtime, None)
        except UserError as error:
            pytest.skip(f"needs onnxruntime-web: {error}")
    return chromium, runtime


@pytest.fixture(scope="module")
def open_page(tools: tuple[str, Path], model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page with the random model, in Chromium."""
    chromium, runtime = tools
    folder = tmp_path_factory.mktemp("demo") / "page"
    build_page(model, runtime, folder)
    with serving(folder) as address, open_browser(chromium) as page:
        page.open(address)
        page.wait(READY)
        yield page


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    with open_server(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(open_page: Page) -> Page:
    """The same, loaded again, in a wide window."""
    open_page.resize(1280)
    open_page.evaluate("document.querySelector('#choose').hidden = true")
    open_page.call("Page.reload")
    open_page.wait(READY)
    return open_page


@pytest.mark.slow
def test_labels_of_photographs_are_those_of_predict(tools: tuple[str, Path], shared: Path, tmp_path: Path) -> None:
    chromium, runtime = tools
    contract = Contract(size=64, channels=3, form="photo", polarity="light_on_dark", fit="crop")
    model = make_model(tmp_path, contract)
    build_page(model, runtime, tmp_path / "page")
    photographs = sorted((shared / "datasets" / "cats_dogs").rglob("*.jpg"))[::13]
    photographs += sorted((shared / "datasets" / "caltech101_mini").rglob("*.jpg"))[::29]
    assert len(photographs) > 50
    with serving(tmp_path / "page") as address, open_browser(chromium) as page:
        page.open(address)
        page.wait(READY)
        results = read_results(page, photographs)
    runner, close = Runner(model), 0
    for photograph, result in zip(photographs, results, strict=True):
        pixels = load(photograph.read_bytes(), contract)
        assert np.abs(result.pixels - pixels.astype(int)).mean() < 1, photograph
        (row,) = runner.probabilities(pixels[None])
        expected = {name: float(probability) for name, probability in zip(NAMES, row, strict=True)}
        assert {name: expected[name] for name in result.classes} == pytest.approx(result.classes, abs=BOUND)
        second, first = np.sort(row)[-2:]
        close += first - second < 2 * BOUND
        assert first - second < 2 * BOUND or next(iter(result.classes)) == NAMES[row.argmax()], photograph
    assert close < 10


@pytest.mark.slow
def test_photographs_of_ink_are_converted_as_in_python(tools: tuple[str, Path], shared: Path, tmp_path: Path) -> None:
    chromium, runtime = tools
    build_page(make_model(tmp_path, INK), runtime, tmp_path / "page")
    photographs = sorted((shared / "datasets" / "own_digits").rglob("*.jpg"))[::9]
    with serving(tmp_path / "page") as address, open_browser(chromium) as page:
        page.open(address)
        page.wait(READY)
        results = read_results(page, photographs)
    for photograph, result in zip(photographs, results, strict=True):
        assert np.abs(result.pixels - load(photograph.read_bytes(), INK).astype(int)).max() <= 1, photograph


@pytest.mark.slow
def test_the_keyboard_is_enough(page: Page, tmp_path: Path) -> None:
    picture(40, 30).save(tmp_path / "a.png")
    page.press("Tab", 9)
    assert page.evaluate("document.activeElement.id") == "files"
    assert page.evaluate("getComputedStyle(document.activeElement.closest('label')).outlineStyle") == "solid"
    read_results(page, [tmp_path / "a.png"])
    page.press("Tab", 9)
    assert page.evaluate("document.activeElement.id") == "clear"
    page.press("Enter", 13, "\r")
    assert page.evaluate("document.querySelectorAll('.result').length") == 0
    assert page.evaluate("document.activeElement.id") == "files"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(page: Page, tmp_path: Path, scheme: str) -> None:
    names = ["a.png", f"{'long_name_' * 20}.png", "كلب.png"]
    for number, name in enumerate(names):
        picture(300, 40, seed=number).save(tmp_path / name)
    page.resize(390, scheme=scheme, mobile=True)
    results = read_results(page, [tmp_path / name for name in names])
    assert len(results) == 3
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("getComputedStyle(document.querySelector('.camera')).display") != "none"
    assert page.evaluate("document.querySelector('h1').getBoundingClientRect().left") >= 0


@pytest.mark.slow
def test_what_cannot_be_read_is_said_in_a_line(page: Page, tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    picture(60, 40).save(whole)
    webp = io.BytesIO()
    picture(60, 40).save(webp, "WEBP", exif=orientation(6))
    broken = {
        "empty.png": (b"", "empty file"),
        "cut.png": (interlaced(np.zeros((9, 9), np.uint8))[:50], "truncated or broken"),
        "cut.jpg": (whole.read_bytes()[:200], "truncated or broken"),
        "text.jpg": (b"hello", "not an image, or of a format that this browser cannot read"),
        "turned.webp": (webp.getvalue(), "a WebP image that is to be turned; save it upright, or as JPEG"),
        "scan.tif": (b"II*\0\x08\0\0\0", "a TIFF image, which this browser cannot read; save it as PNG"),
    }
    for name, (content, _) in broken.items():
        (tmp_path / name).write_bytes(content)
    assert page.evaluate("getComputedStyle(document.querySelector('#clear')).display") == "none"  # nothing to clear
    results = read_results(page, [whole, *(tmp_path / name for name in broken)])
    assert results[0].error is None
    assert [result.error for result in results[1:]] == [said for _, said in broken.values()]
    assert "7 images, 6 of which could not be read." in page.evaluate("document.querySelector('#status').textContent")


@pytest.mark.slow
def test_images_unlike_all_that_was_learned_are_marked(page: Page, tmp_path: Path) -> None:
    files = [tmp_path / f"{color}.png" for color in ("black", "white")]
    for file in files:
        Image.new("RGB", (40, 30), file.stem).save(file)
    read_results(page, files)
    marked = "[...document.querySelectorAll('.result:has(.unknown) h2')].map((each) => each.textContent)"
    assert page.evaluate(marked) == ["white.png"]


@pytest.mark.slow
@pytest.mark.parametrize(("event", "field"), [("drop", "dataTransfer"), ("paste", "clipboardData")])
def test_images_are_dropped_and_pasted(page: Page, event: str, field: str) -> None:
    page.evaluate(
        "(async () => { const canvas = new OffscreenCanvas(9, 9); canvas.getContext('2d');"
        "const data = new DataTransfer(); data.items.add(new File([await canvas.convertToBlob()], 'drawn.png'));"
        f"const event = new {'DragEvent' if event == 'drop' else 'ClipboardEvent'}('{event}', {{bubbles: true,"
        f"cancelable: true, {field}: data}}); document.body.dispatchEvent(event); }})()"
    )
    page.wait("document.querySelectorAll('.result .bars').length === 1")


@pytest.mark.slow
def test_class_names_are_shown_as_they_are_and_nothing_is_sent(page: Page, tmp_path: Path) -> None:
    picture(40, 30).save(tmp_path / "a.png")
    read_results(page, [tmp_path / "a.png"])
    assert page.evaluate("[...document.querySelectorAll('#about li')].map(each => each.textContent)") == NAMES
    addresses = {event["request"]["url"] for event in page.events("Network.requestWillBeSent")}
    assert addresses
    assert {address.split(":")[0] for address in addresses} <= {"http", "blob", "data"}
    assert {address.split("/")[2].split(":")[0] for address in addresses if address.startswith("http")} == {"127.0.0.1"}
    assert not page.events("Runtime.exceptionThrown")


@pytest.mark.slow
def test_the_example_for_the_browser_answers_as_python_does(
    tools: tuple[str, Path], model: Path, tmp_path: Path
) -> None:
    chromium, runtime = tools
    for name in ("examples", "stages/browser"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    shutil.copytree(model, tmp_path / "data/export")
    shutil.copytree(runtime, tmp_path / "node_modules/onnxruntime-web/dist")  # where npm puts it
    names = [f"{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        picture(40 + 9 * number, 30).save(tmp_path / name)
    with serving(tmp_path) as address, open_browser(chromium) as page:
        page.open(f"{address}examples/with_browser.html")
        page.wait("document.querySelector('input')?.onchange")
        page.choose_files("input", [tmp_path / name for name in names])
        said = "document.querySelector('pre').textContent"
        page.wait(f"{said}.split('\\n').length === 5")
        answers = [line.split("  ") for line in page.evaluate(said).splitlines()]
    rows = Runner(model).probabilities(np.stack([load((tmp_path / name).read_bytes(), PHOTO) for name in names]))
    assert [(name, label) for name, label, _ in answers] == [
        (name, NAMES[row.argmax()]) for name, row in zip(names, rows, strict=True)
    ]
    assert [float(share) for _, _, share in answers] == pytest.approx(list(rows.max(axis=1)), abs=1e-3)
