"""A real ComfyUI serves, runs prompts, and loads the pack quickly and cheaply."""

import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from host.serve import ComfyServer

RED_SQUARE = {
    "class_type": "EmptyImage",
    "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0xFF0000},
}


def preview_of(node_id: str) -> dict:
    return {"class_type": "PreviewImage", "inputs": {"images": [node_id, 0]}}


def test_a_prompt_runs_and_its_picture_can_be_viewed(server: "ComfyServer"):
    history = server.run({"1": RED_SQUARE, "2": preview_of("1")}, timeout=60)
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
        server.run({"1": broken, "2": preview_of("1")}, timeout=60)
    assert (failure.value.node_id, failure.value.node_type) == ("1", "LoadImage")


def test_the_pack_loads_without_error_in_under_half_a_second(server: "ComfyServer", comfy: ModuleType):
    log = server.log.read_text()
    times = re.findall(r"([\d.]+) seconds( \(IMPORT FAILED\))?: .*/" + comfy.PACK, log)
    assert len(times) == 1, f"ComfyUI's log does not report one import of {comfy.PACK}:\n{log}"
    seconds, failed = times[0]
    assert not failed, log
    assert float(seconds) < 0.5


def test_the_hosts_own_nodes_are_not_hidden_by_the_packs_folder_of_that_name(server: "ComfyServer"):
    assert server.object_info("KSampler")


LOAD_THE_PACK = """
import asyncio, json, sys
sys.argv = ["main.py", "--cpu", "--disable-api-nodes"]
import comfy.options
comfy.options.enable_args_parsing()
import nodes
before = set(sys.modules)
loaded = asyncio.run(nodes.load_custom_node(PACK))
imported = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps({"loaded": loaded, "imported": sorted(imported)}))
"""


def test_importing_the_pack_does_not_import_segmenter_runtimes(repo: Path, comfy: ModuleType):
    program = f"PACK = {str(repo)!r}" + LOAD_THE_PACK
    result = subprocess.run(
        [comfy.environment_python(), "-c", program],
        cwd=comfy.comfyui_folder(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["loaded"], result.stderr
    assert not {"ai_edge_litert", "cv2", "mediapipe", "tensorflow"} & set(answer["imported"])
