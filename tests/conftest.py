"""What several tests share."""

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return PROJECT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data that lies beside the project on machines that test it."""
    folder = PROJECT.parent / "shared"
    if not (folder / "datasets").is_dir():
        pytest.skip(f"needs real photographs and published files in ../{folder.name}, which is not here")
    return folder
