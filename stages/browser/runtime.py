"""Get ONNX Runtime for browsers: the npm package onnxruntime-web (MIT), of which two files are needed."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

from stages.base.errors import UserError, summarize
from stages.base.folders import replace_folder
from stages.base.terminal import format_size, say

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # npm's
SIZE = 33_106_585  # bytes, of the package
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def provide_runtime(folder: Path, package: Path | None) -> None:
    """Write the files of the runtime into a folder, unless they are there.

    Args:
        folder: for this version's files.
        package: the package as a .tgz file; None: `npm pack` downloads it, from the registry that npm is set to.

    Raises:
        UserError: npm is missing or fails, or the package is not the one that npm published.
    """
    if all((folder / name).is_file() for name in FILES):
        return
    with replace_folder(folder) as partial:
        if package is None:
            say(f"downloading {PACKAGE} ({format_size(SIZE)}) with npm")
            package = _download(partial)
        _verify(package)
        with tarfile.open(package) as archive:
            for name in FILES:
                source = archive.extractfile(f"package/dist/{name}")
                assert source is not None  # the package is verified
                with source, (partial / name).open("wb") as out:
                    shutil.copyfileobj(source, out)
        if package.parent == partial:
            package.unlink()


def _download(folder: Path) -> Path:
    """Let npm download the package: it knows the registry, the proxy and the certificates to use here."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"expected npm, which downloads {PACKAGE}; received none. Run `pip install -e '.[browser]'`, which brings "
            "it, or install Node.js. Or run `npm pack` elsewhere, and name the file: --runtime FILE."
        )
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"`npm pack {PACKAGE}` failed ({summarize(done.stderr or f'exit code {done.returncode}')}). Check the "
            "network, or download the package elsewhere and name the file: --runtime FILE."
        )
    return folder / done.stdout.split()[-1]


def _verify(package: Path) -> None:
    with package.open("rb") as file:
        received = f"sha512-{base64.b64encode(hashlib.file_digest(file, 'sha512').digest()).decode()}"
    if received != INTEGRITY:
        raise UserError(
            f"{package.name}: expected the npm package {PACKAGE} ({INTEGRITY}), received other bytes ({received})."
        )
