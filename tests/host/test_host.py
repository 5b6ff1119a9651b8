"""A real ComfyUI serves, runs prompts, and loads the pack quickly and cheaply."""

import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from .graphs import PATIENCE

if TYPE_CHECKING:
    from host.serve import ComfyServer

RED_SQUARE = {
    "class_type": "EmptyImage",
    "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0xFF0000},
}


def preview_of(node_id: str) -> dict:
    return {"class_type": "PreviewImage", "inputs": {"images": [node_id, 0]}}


def test_a_prompt_runs_and_its_picture_can_be_viewed(server: "ComfyServer"):
    history = server.run({"1": RED_SQUARE, "2": preview_of("1")})
    picture = server.view(history["outputs"]["2"]["images"][0])
    assert picture.startswith(b"\x89PNG")


def test_a_rejected_prompt_says_which_node_and_input(server: "ComfyServer", comfy: ModuleType):
    too_wide = {**RED_SQUARE, "inputs": {**RED_SQUARE["inputs"], "width": 10**6}}
    with pytest.raises(comfy.PromptRejected, match=r"(?s)node 1 \(EmptyImage\).*width"):
        server.queue({"1": too_wide, "2": preview_of("1")})


def test_a_failing_node_is_named_with_its_message(server: "ComfyServer", comfy: ModuleType):
    (server.base_directory / "input" / "broken.png").write_bytes(b"not a picture")
    broken = {"class_type": "LoadImage", "inputs": {"image": "broken.png"}}
    with pytest.raises(
        comfy.PromptFailed, match=r"node 1 \(LoadImage\).*cannot identify image file"
    ) as failure:
        server.run({"1": broken, "2": preview_of("1")})
    assert (failure.value.node_id, failure.value.node_type) == ("1", "LoadImage")


def test_the_pack_loads_once_and_without_error(server: "ComfyServer", comfy: ModuleType):
    log = server.log.read_text()
    loaded = re.findall(r"[\d.]+ seconds( \(IMPORT FAILED\))?: .*/" + comfy.PACK, log)
    assert loaded == [""], f"ComfyUI's log does not report one import of {comfy.PACK}:\n{log}"


def test_the_hosts_own_nodes_are_not_hidden_by_the_packs_folder_of_that_name(server: "ComfyServer"):
    assert server.object_info("KSampler")


LOAD_THE_PACK = """
import asyncio, json, sys
sys.argv = ["main.py", "--cpu", "--disable-api-nodes"]
import comfy.options
comfy.options.enable_args_parsing()
import folder_paths, nodes, torch
folder_paths.folder_names_and_paths["sams"] = (["/models/elsewhere"], {".pt"})
checkpoints = list(folder_paths.get_folder_paths("checkpoints"))
before = set(sys.modules)
loaded = asyncio.run(nodes.load_custom_node(PACK))
imported = {name.split(".")[0] for name in set(sys.modules) - before}
paths = next(module for name, module in sys.modules.items() if name.endswith(".nodes.paths"))
from comfy.cli_args import args
anywhere = {}
for args.listen in ("127.0.0.1", "0.0.0.0,::", "127.0.0.1,10.0.0.2"):
    anywhere[args.listen] = paths.access().anywhere
print(json.dumps({"loaded": loaded, "imported": sorted(imported), "anywhere": anywhere}), flush=True)
"""
PLACE_NETWORKS = """
segment = next(module for name, module in sys.modules.items() if name.endswith(".nodes.segment"))

folders = segment.weight_folders()
assert str(folders["sams"][0]) == "/models/elsewhere"
assert folder_paths.folder_names_and_paths["sams"][1] == {".pt"}
assert [str(path) for path in folders["checkpoints"]] == checkpoints
for kind in ("mediapipe", "sam3", "sam2", "sams", "grounding-dino", "parsers"):
    assert folders[kind][-1].name == kind, kind

class Network(torch.nn.Linear):
    device = property(lambda self: self.weight.device)

class Loaded:
    modules = (Network(2, 3), Network(3, 4))

import comfy.model_management
patcher = segment._patcher(Loaded(), torch.device("cpu"))
comfy.model_management.load_models_gpu([patcher], force_full_load=True)
assert [entry.model for entry in comfy.model_management.current_loaded_models] == [patcher]
assert patcher.model_size() == 4 * (2 * 3 + 3 + 3 * 4 + 4)

# on a GPU: asked for picture by picture, one patcher is loaded again and again; other models make room
asked, freed, loaded = [], [], Loaded()
def get(self):
    if not freed:
        raise torch.cuda.OutOfMemoryError("no room")
    return loaded
segment.LazySegmenter.get = get
comfy.model_management.unload_all_models = lambda: freed.append(True)
comfy.model_management.load_models_gpu = lambda models, **options: asked.append(models)
segmenter = segment.ManagedSegmenter("mediapipe", {}, "cuda:0")
assert segmenter.get() is segmenter.get() is loaded
assert freed == [True] and len(asked) == 2 and asked[0] == asked[1]
assert asked[0][0].load_device == torch.device("cuda:0")
assert segment.ManagedSegmenter("mediapipe", {}, "cpu").get() is loaded and len(asked) == 2
print("managed")
"""


@pytest.fixture(scope="module")
def program(repo: Path, comfy: ModuleType) -> "subprocess.CompletedProcess[str]":
    """LOAD_THE_PACK and PLACE_NETWORKS, run in one process of ComfyUI's."""
    return subprocess.run(
        [comfy.environment_python(), "-c", f"PACK = {str(repo)!r}{LOAD_THE_PACK}{PLACE_NETWORKS}"],
        cwd=comfy.comfyui_folder(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


HEAVY = {
    *("ai_edge_litert", "cv2", "mediapipe", "tensorflow", "transformers", "huggingface_hub", "sam2", "hydra"),
    *("matplotlib", "scipy", "pandas", "pymatting", "pytorch_optimizer"),
}
"""What takes long to import and that only some of the nodes need, when they run."""


@pytest.fixture(scope="module")
def told(program: "subprocess.CompletedProcess[str]") -> dict:
    """What LOAD_THE_PACK printed."""
    assert program.stdout, program.stderr
    return json.loads(program.stdout.splitlines()[-2 if program.returncode == 0 else -1])


def test_importing_the_pack_imports_nothing_that_takes_long(
    told: dict, program: "subprocess.CompletedProcess[str]"
):
    assert told["loaded"], program.stderr
    assert not HEAVY & set(told["imported"])


def test_who_listens_for_other_computers_does_not_read_anywhere(told: dict):
    assert told["anywhere"] == {"127.0.0.1": True, "0.0.0.0,::": False, "127.0.0.1,10.0.0.2": False}


def test_comfyui_manages_the_networks_and_keeps_its_own_folders(program: "subprocess.CompletedProcess[str]"):
    assert program.returncode == 0, program.stderr
    assert program.stdout.splitlines()[-1] == "managed"
