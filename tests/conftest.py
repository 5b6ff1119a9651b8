"""Fixtures of every tier: unit (no ComfyUI), host (a real ComfyUI), browser (a real Chromium)."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from .by_path import REPO, load
from .loopback_hub import Hub, serve

if TYPE_CHECKING:
    from host.serve import ComfyServer

# for torch and OpenBLAS, which are not loaded yet, and all that the tests start: one process and several give
# the same to the bit only with as many threads each
os.environ.setdefault("OMP_NUM_THREADS", "1")

WORKFLOWS = REPO / "workflows"

SMALL = {
    "SemanticFocusFit": {"resolution": 128, "multiple_of": 16},
    "SemanticFocusPrepare": {"resolution": 128, "multiple_of": 16},
    "SemanticFocusPreviewOptions": {"steps": 2},
    "SemanticFocusTrain": {"steps": 3, "rank": 4, "alpha": 4.0, "learning_rate": 1e-3, "recipe": "off"},
    "EmptySD3LatentImage": {"width": 128, "height": 128},
    "KSampler": {"steps": 2, "cfg": 1.0},
}
"""By class of node: what runs in seconds on a CPU."""


BROWSER_TIER = "tests/browser/"
NO_BROWSER = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for report in terminalreporter.stats.get("skipped", ()):
        if report.nodeid.startswith(BROWSER_TIER) and report.when == "setup":
            config.stash[NO_BROWSER] = report.longrepr[2].removeprefix("Skipped: ")


def pytest_unconfigure(config: pytest.Config) -> None:
    if reason := config.stash.get(NO_BROWSER, ""):
        line = f"THE BROWSER TESTS DID NOT RUN: {reason}"
        config.get_terminal_writer().line(line, red=True, bold=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser tests go by editor, since its page is loaded anew for another; all others go by file."""
    groups = [_group(item.nodeid) for item in items]
    order = list(dict.fromkeys(groups))
    items[:] = [
        item for _, item in sorted(zip(groups, items, strict=True), key=lambda it: order.index(it[0]))
    ]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile` one process runs what goes together."""
    from xdist.scheduler import LoadFileScheduling

    class ByGroup(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return ByGroup(config, log) if config.getvalue("dist") == "loadfile" else None


def _group(nodeid: str) -> str:
    editor = re.search(r"\[((canvas|vue)-(pinned|newer))", nodeid)
    return editor[1] if editor else nodeid.partition("::")[0]


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout."""
    return REPO


@pytest.fixture(scope="session")
def photographs() -> Path:
    """Folder with astronaut.png (one woman), bus.jpg (four people in a street), zidane.jpg (two men)."""
    return _made_by_setup(REPO / ".cache" / "photographs")


@pytest.fixture(scope="session")
def make_dataset(photographs: Path) -> Callable[[Path], Path]:
    """Fill a new folder with two pictures of one woman, 320x320 and 360x480, and their captions."""

    def make(folder: Path) -> Path:
        folder.mkdir()
        portrait = Image.open(photographs / "astronaut.png").convert("RGB")
        portrait.crop((60, 0, 380, 320)).save(folder / "one.png")
        portrait.crop((40, 0, 400, 480)).save(folder / "two.png")
        for name in ("one", "two"):
            (folder / f"{name}.txt").write_text("a woman in an orange suit")
        return folder

    return make


@pytest.fixture(scope="session")
def newer_front_end() -> Path:
    """The `front_end_root` of a graph editor newer than the one ComfyUI pins."""
    return _made_by_setup(REPO / ".cache" / "front-end")


@pytest.fixture(scope="session")
def weights() -> Path:
    """Folder with the networks of the embedded segmenter."""
    from semantic_focus.segmenters.embedded.weights import default_folder

    return _made_by_setup(default_folder())


@pytest.fixture(scope="session")
def comfy() -> ModuleType:
    """host/serve.py: ComfyServer and its errors."""
    return load("host/serve.py")


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The only model hub that servers of tests know, empty at first; they have no token of anybody."""
    with serve(Hub({})) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", running.url)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
            patch.delenv(name, raising=False)
        yield running


@pytest.fixture(scope="session")
def start_server(
    comfy: ModuleType, hub: Hub, stand_in_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> "Callable[..., ComfyServer]":
    """Start a ComfyUI in a new base directory: `with start_server(front_end_root=...) as server`.

    It has the pack, the stand-in nodes and the stand-in model.
    """

    def start(**options: Any) -> "ComfyServer":
        base = tmp_path_factory.mktemp("comfyui")
        models = base / "models" / "diffusion_models"
        models.mkdir(parents=True)
        (models / stand_in_model.name).symlink_to(stand_in_model)
        return comfy.ComfyServer(base, extra_custom_nodes=[REPO / "host" / "standins"], **options)

    return start


@pytest.fixture(scope="session")
def stand_in_model(comfy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SD3 model file with random weights, for the stand-in of Load Checkpoint."""
    file = tmp_path_factory.mktemp("model") / "stand_in.safetensors"
    program = [comfy.environment_python(), REPO / "tests" / "stand_in_model.py"]
    subprocess.run([*program, comfy.comfyui_folder(), file], check=True, timeout=120)
    return file


@pytest.fixture(scope="session")
def small_workflow(stand_in_model: Path) -> Callable[[str], dict[str, Any]]:
    """A workflow in API form, by name, with the stand-in checkpoint and sizes that run in seconds."""

    def load(name: str) -> dict[str, Any]:
        graph = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
        for node in graph.values():
            if node["class_type"] == "CheckpointLoaderSimple":
                node.update(
                    class_type="SemanticFocusStandInCheckpoint", inputs={"model_file": stand_in_model.name}
                )
            node["inputs"].update(SMALL.get(node["class_type"], {}))
        return graph

    return load


@pytest.fixture(scope="session")
def shared_workflow(small_workflow: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The workflow train_person_lora, as `small_workflow` gives it."""
    return small_workflow("train_person_lora")


def _made_by_setup(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.fail(f"{folder} is not there: run `make setup`", pytrace=False)
    return folder
