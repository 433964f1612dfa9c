"""How closely an exported model agrees in the browser with predict, and how fast it is there.

    python -m tests.benchmarks.browser ../shared/datasets/cats_dogs --every 20

Run it in a project whose export has run. Opens the page of `python -m stages demo` in Chromium, chooses every so many
images, and compares what the page shows with Python. Prints one line of JSON: "images"; "equal_pixels", the images
whose pixels are all equal; "pixels" and "probabilities", the largest differences; "labels", the images with another
class; and what the page says about the time.
"""

import json
import threading
from pathlib import Path

import numpy as np

from stages.browser.build import build_page
from stages.browser.runtime import VERSION, provide_runtime
from stages.browser.serve import HOST, open_server
from stages.formats.runner import Runner
from stages.images.decode import BadImage
from stages.images.load import load
from tests.helpers.browser import READY, find_chromium, open_browser, read_results
from tests.helpers.command_line import command_line

EXPORT, RUNTIME, DEMO = Path("data/export"), Path(f"data/.onnxruntime-web-{VERSION}"), Path("data/demo")
CACHE = Path(".pytest_cache/d/browser")  # where the tests keep Chromium


def main() -> None:
    """Compare, and print the differences."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("images", nargs="+", type=Path, help="folders of images")
    parser.add_argument("--every", type=int, default=1, help="choose one of so many images")
    parser.add_argument("--model", type=Path, default=EXPORT, help="folder of the exported model")
    options = parser.parse_args()
    files = sorted(file for folder in options.images for file in folder.rglob("*") if file.is_file())[:: options.every]
    provide_runtime(RUNTIME, None)
    build_page(options.model, RUNTIME, DEMO)
    runner = Runner(options.model)
    with open_server(DEMO, 0) as server, open_browser(find_chromium(CACHE)) as page:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.open(f"http://{HOST}:{server.server_port}/")
        page.wait(READY)
        results = read_results(page, files)
        said = page.evaluate("document.querySelector('#status').textContent")
        server.shutdown()
    pixels, probabilities, labels = [], [], 0
    for file, result in zip(files, results, strict=True):
        try:
            expected = load(file.read_bytes(), runner.contract)
        except BadImage:
            continue
        row = dict(zip(runner.classes, map(float, runner.probabilities(expected[None])[0]), strict=True))
        pixels.append(int(np.abs(result.pixels - expected.astype(int)).max()))
        probabilities.append(max(abs(row[name] - value) for name, value in result.classes.items()))
        labels += max(row, key=row.__getitem__) != next(iter(result.classes))
    differences = {"pixels": max(pixels), "probabilities": max(probabilities), "labels": labels}
    print(json.dumps({"images": len(pixels), "equal_pixels": pixels.count(0), **differences, "page": said}))


if __name__ == "__main__":
    main()
