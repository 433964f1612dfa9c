"""Recognize a preset of KerasHub: a folder that ``save_to_preset`` wrote."""

import json
from pathlib import Path
from typing import Any

CONFIG = "config.json"


def read_preset_config(folder: Path) -> dict[str, Any] | None:
    """Return the config of the backbone in a folder; None if it is no preset of KerasHub."""
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    named = isinstance(content, dict) and str(content.get("registered_name", "")).startswith("keras_hub>")
    return content if named else None


def is_preset(folder: Path) -> bool:
    """Whether a folder is a preset of KerasHub."""
    return read_preset_config(folder) is not None
