"""What every test file may use."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

# Read when torch is loaded, here and in what tests start: processes that run tests beside each other share the cores.
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """Take what is imported by now out of garbage collection: every training ends with one, which took seconds."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared captures; a test that needs it skips where there is none."""
    named = os.environ.get("FIT3D_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"no captures at {folder}; set FIT3D_SHARED to the folder that contains data/")
    return folder


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hugging Face hub out of reach, with nothing in its cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
