"""Fixtures of every tier: unit (no ComfyUI), host (a real ComfyUI), browser (a real Chromium)."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from host.serve import ComfyServer

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout."""
    return REPO


@pytest.fixture(scope="session")
def photographs() -> Path:
    """Folder with astronaut.png (one woman), bus.jpg (four people in a street), zidane.jpg (two men)."""
    return _made_by_setup(REPO / ".cache" / "photographs")


@pytest.fixture(scope="session")
def newer_front_end() -> Path:
    """The `front_end_root` of a graph editor newer than the one ComfyUI pins."""
    return _made_by_setup(REPO / ".cache" / "front-end")


@pytest.fixture(scope="session")
def weights() -> Path:
    """Folder with the networks of the embedded segmenter."""
    from semantic_focus.weights import default_folder

    return _made_by_setup(default_folder())


@pytest.fixture(scope="session")
def comfy() -> ModuleType:
    """host/serve.py: ComfyServer and its errors. Loaded from its path: no folder of ours is on sys.path."""
    name = "semantic_focus_host_serve"
    specification = importlib.util.spec_from_file_location(name, REPO / "host" / "serve.py")
    assert specification and specification.loader
    sys.modules[name] = module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def start_server(comfy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> "Callable[..., ComfyServer]":
    """Start a ComfyUI in a new base directory: `with start_server(front_end_root=...) as server`."""
    return lambda **options: comfy.ComfyServer(tmp_path_factory.mktemp("comfyui"), **options)


def _made_by_setup(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.fail(f"{folder} is not there: run `make setup`", pytrace=False)
    return folder
