"""Put a page together that runs an exported model in the browser: a folder for any web server."""

import shutil
from pathlib import Path

from stages.base.errors import UserError
from stages.base.folders import replace_folder
from stages.formats.card import FILES, NAME, read_card

_HERE = Path(__file__).parent
_STYLE = _HERE.parent / "draw" / "report.css"  # the report's colors and type
_MODEL = FILES["onnx"]


def check_model(folder: Path) -> None:
    """Check that a folder holds an exported model that browsers can run.

    Raises:
        UserError: there is none.
    """
    formats = read_card(folder).formats
    if "onnx" not in formats:
        raise UserError(
            f"{folder}: expected the format onnx, which browsers run; received {', '.join(formats)}. Add onnx to "
            "export.formats, and run `dvc repro export`."
        )
    if not (folder / _MODEL).is_file():
        raise UserError(f"{folder / _MODEL} is missing. Run `dvc repro export`, or `dvc pull`.")


def build_page(model: Path, runtime: Path, out: Path) -> int:
    """Write the page, the model and the runtime into a folder, and return its size in bytes.

    Args:
        model: folder of an exported model.
        runtime: folder with the files of the runtime.
        out: the folder to write; it is replaced.
    """
    with replace_folder(out) as folder:
        shutil.copy(_HERE / "page.html", folder / "index.html")
        for file in (*_HERE.glob("*.js"), _HERE / "style.css", _STYLE, model / NAME, model / _MODEL):
            shutil.copy(file, folder)
        shutil.copytree(runtime, folder / "runtime")
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
