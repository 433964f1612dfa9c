"""A Chromium without a window, driven over a pipe by its DevTools protocol; and where to find one."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
PACKAGE = "@sparticuz/chromium@147.0.0"  # 66 MB; needs no system packages
UNPACK = "import chromium from '@sparticuz/chromium'; console.log(await chromium.executablePath())"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--hide-scrollbars",
)


def find_chromium(cache: Path) -> str:
    """Return a Chromium: THAW_CHROMIUM, an installed one, or one from npm's registry, kept in ``cache``; or skip."""
    named = [os.environ.get("THAW_CHROMIUM"), *map(shutil.which, NAMES)]
    for path in filter(None, named):
        return path
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("needs Chromium: none is installed, THAW_CHROMIUM names none, and there is no npm to fetch one")
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "node_modules" / "@sparticuz").is_dir():
        done = subprocess.run(
            [npm, "install", "--silent", "--prefix", str(cache), PACKAGE], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(
                f"needs Chromium: none is installed, and npm cannot fetch {PACKAGE}: {done.stderr.strip()[-200:]}"
            )
    found = subprocess.run(
        [node, "--input-type=module", "-e", UNPACK], cwd=cache, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


@dataclass(frozen=True)
class Result:
    """What the demo's page shows for an image.

    Attributes:
        pixels: what the network sees, as (side, side, 3).
        classes: the best ones with their probabilities, in order.
        error: why it could not be read; None if it could.
    """

    pixels: np.ndarray
    classes: dict[str, float]
    error: str | None


READY = "document.querySelector('#choose')?.hidden === false"  # the demo's page has loaded the model
_READ = """[...document.querySelectorAll('.result')].reverse().map((result) => {
  const canvas = result.querySelector('canvas');
  if (!canvas) return {error: result.querySelector('p').textContent, pixels: [], side: 0, classes: []};
  const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const rows = [...result.querySelectorAll('.bars li')];
  const classes = rows.map((row) => [row.querySelector('bdi').textContent, row.querySelector('progress').value]);
  return {error: null, side: canvas.width, pixels: [...image.data], classes};
})"""


def read_results(page: "Page", images: list[Path]) -> list[Result]:
    """Choose images on the demo's page, wait, and return what it shows for each."""
    page.choose_files("#files", images)
    shown = f"document.querySelectorAll('.result').length === {len(images)}"
    page.wait(f"{shown} && !document.querySelector('#status').textContent.startsWith('Reading')", 300)
    return [
        Result(
            np.array(each["pixels"]).reshape(each["side"], each["side"], 4)[..., :3],
            dict(each["classes"]),
            each["error"],
        )
        for each in page.evaluate(_READ)
    ]


class Page:
    """A tab of a browser."""

    def __init__(self, pipe: "Pipe", session: str) -> None:
        self.pipe, self.session = pipe, session
        for domain in ("Page", "Runtime", "DOM", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        return self.pipe.call(method, self.session, **parameters)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression, awaited if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = f"const end = Date.now() + {1000 * seconds}"
        look = f"({condition}) ? done() : Date.now() > end ? fail(new Error('in vain')) : setTimeout(look, 20)"
        self.evaluate(f"new Promise((done, fail) => {{ {end}; const look = () => {look}; look(); }})")

    def choose_files(self, selector: str, paths: list[Path]) -> None:
        """Choose files in an <input>."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path.resolve()) for path in paths])

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def resize(self, width: int, height: int = 900, scheme: str = "light", mobile: bool = False) -> None:
        """Set the window's size and whether it is dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def photograph(self, path: Path) -> None:
        """Write a picture of the whole page."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(picture))

    def events(self, method: str) -> list[dict[str, Any]]:
        """Return what the browser reported, such as each request (Network.requestWillBeSent)."""
        return [event["params"] for event in self.pipe.events if event["method"] == method]


class Pipe:
    """The connection: JSON messages that end in a zero byte."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")
        self.number, self.rest = 0, b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        self.writing.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        self.writing.flush()
        while (answer := self._read()).get("id") != self.number:
            if "method" in answer:
                self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = self.reading.read1(1 << 16)
            assert more, "Chromium has ended"
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def open_browser(chromium: str) -> Iterator[Page]:
    """Start Chromium and yield a tab."""
    (to_read, to_send), (to_receive, to_write) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_read, to_write)]  # out of the way of 3 and 4
    start = 'exec "$0" "$@" 3<&{} 4>&{}'.format(*theirs)  # the protocol's numbers
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["bash", "-c", start, chromium, *FLAGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(command, pass_fds=theirs, stderr=subprocess.DEVNULL)
        for end in (to_read, to_write, *theirs):
            os.close(end)
        pipe = Pipe(to_receive, to_send)
        try:
            target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
            yield Page(pipe, pipe.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
            pipe.call("Browser.close")
        finally:
            process.terminate()
            process.wait()
            pipe.reading.close()
            pipe.writing.close()
