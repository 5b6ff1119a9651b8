"""Bad input: a message that names the thing and the way out, before or instead of a long computation."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .graphs import up_to

if TYPE_CHECKING:
    from host.serve import ComfyServer

Graph = dict[str, dict[str, Any]]


@pytest.fixture
def folder(photographs: Path, tmp_path: Path) -> Path:
    """One captioned portrait."""
    Image.open(photographs / "astronaut.png").convert("RGB").crop((60, 0, 380, 320)).save(
        tmp_path / "one.png"
    )
    (tmp_path / "one.txt").write_text("a woman")
    return tmp_path


@pytest.fixture
def graph(shared_workflow: Graph, folder: Path) -> Graph:
    """The shared workflow up to the saved LoRA, on `folder`."""
    graph = up_to(shared_workflow, 10)
    graph["2"]["inputs"]["folder"] = str(folder)
    return graph


def complaint(server: "ComfyServer", comfy: ModuleType, graph: Graph) -> str:
    """What the graph fails with, in one line."""
    with pytest.raises(comfy.PromptFailed) as failure:
        server.run(graph)
    return failure.value.exception


def test_a_folder_without_a_picture(server, comfy, graph, folder):
    (folder / "one.png").unlink()
    message = complaint(server, comfy, graph)
    assert str(folder) in message and "no picture" in message and ".png" in message


def test_a_picture_that_cannot_be_read(server, comfy, graph, folder):
    content = (folder / "one.png").read_bytes()
    (folder / "one.png").write_bytes(content[: len(content) // 2])
    message = complaint(server, comfy, graph)
    assert "one.png" in message and "cannot be read" in message and "remove it" in message


def test_a_caption_that_is_missing(server, comfy, graph, folder):
    (folder / "one.txt").unlink()
    message = complaint(server, comfy, graph)
    assert "one.png" in message and "one.txt" in message and "default caption" in message


def test_only_pictures_without_people(server, comfy, graph, folder):
    Image.new("RGB", (320, 320), (90, 140, 200)).save(folder / "one.png")
    graph["8"]["inputs"]["global_fallback"] = 0.0
    message = complaint(server, comfy, graph)
    assert "none of the 1 pictures has a region with a weight above 0" in message and "face" in message


def test_a_picture_without_people_among_others_does_not_stop_the_training(server, graph, folder):
    Image.new("RGB", (320, 320), (90, 140, 200)).save(folder / "two.png")
    (folder / "two.txt").write_text("a wall")
    assert server.run(graph)["status"]["completed"]


def test_a_mask_file_of_another_picture(server, comfy, graph, folder, photographs):
    server.run({node: graph[node] for node in ("2", "3")})
    Image.open(photographs / "zidane.jpg").crop((0, 0, 320, 320)).save(folder / "one.png")
    graph["3"] = {
        "class_type": "SemanticFocusLoadMasks",
        "inputs": {"mask_file": ["2", 2], "image": ["2", 0]},
    }
    message = complaint(server, comfy, graph)
    assert "one_zi_masks.safetensors" in message and "another picture" in message
    assert "Run SAM Semantic Segment" in message


def test_a_truncated_mask_file(server, comfy, graph, folder):
    server.run({node: graph[node] for node in ("2", "3")})
    file = folder / "one_zi_masks.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    graph["3"] = {"class_type": "SemanticFocusLoadMasks", "inputs": {"mask_file": str(file)}}
    message = complaint(server, comfy, graph)
    assert "one_zi_masks.safetensors" in message and "not a complete safetensors file" in message


def test_latents_and_masks_of_different_aspect(server, comfy, graph):
    graph["scaled"] = {
        "class_type": "ImageScale",
        "inputs": {
            "image": ["4", 0],
            "upscale_method": "area",
            "width": 128,
            "height": 192,
            "crop": "disabled",
        },
    }
    graph["5"]["inputs"]["pixels"] = ["scaled", 0]
    message = complaint(server, comfy, graph)
    assert "320x320" in message and "16x24" in message and "Fit To Training Size" in message


def test_latents_of_another_kind_of_model(server, comfy, graph):
    graph["5"] = {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 128, "height": 128, "batch_size": 1},
    }
    message = complaint(server, comfy, graph)
    assert "4 channels" in message and "16" in message and "VAE" in message


def test_a_weight_below_0(server, comfy, graph):
    graph["8"]["inputs"]["face_weight"] = -0.5
    with pytest.raises(comfy.PromptRejected, match=r"(?s)smaller than min of 0.*face_weight"):
        server.queue(graph)


def test_a_weight_below_0_of_a_category_of_ones_own(server, comfy, graph):
    graph["8"]["inputs"]["more_weights"] = "tattoo: -1"
    with pytest.raises(comfy.PromptRejected, match="more_weights.*tattoo.*0 or more"):
        server.queue(graph)


def test_all_weights_0(server, comfy, graph):
    graph["8"]["inputs"].update(preset="custom", global_fallback=0.0)
    for name in ("face", "body", "clothing", "hair", "background", "lighting"):
        graph["8"]["inputs"][f"{name}_weight"] = 0.0
    message = complaint(server, comfy, graph)
    assert "all region weights are 0" in message and "Raise the weight" in message


def test_a_base_model_with_weights_that_are_no_numbers(server, comfy, graph, stand_in_model):
    weights = load_file(stand_in_model)
    weights["model.diffusion_model.final_layer.linear.bias"][:] = float("nan")
    with safe_open(stand_in_model, framework="pt") as file:
        header = file.metadata()
    broken = server.base_directory / "models" / "diffusion_models" / "broken.safetensors"
    save_file(weights, broken, header)
    graph["1"]["inputs"]["model_file"] = broken.name
    message = complaint(server, comfy, graph)
    assert (
        "the base model's own prediction for picture" in message and "before anything is trained" in message
    )
    assert "final_layer.linear.bias" in message and "learning rate" not in message.lower()


def test_a_keyword_line_of_the_wrong_form(server, comfy, graph):
    graph["3"]["inputs"]["keywords"] = "face: face\njust words"
    with pytest.raises(comfy.PromptRejected, match="line 2.*just words"):
        server.queue(graph)


@pytest.mark.parametrize(
    "node",
    [
        {"class_type": "SemanticFocusLoadDataset", "inputs": {"default_caption": "x"}},
        {
            "class_type": "SemanticFocusCacheDataset",
            "inputs": {"backend": "auto", "refine": "off", "keywords": "face: face"},
        },
    ],
    ids=lambda node: node["class_type"],
)
@pytest.mark.parametrize(
    ("place", "words"),
    [("", "no folder given"), ("{there}/gone", "no such folder"), ("{there}/one.png", "a file")],
)
def test_a_folder_that_is_not_there_is_refused_before_anything_runs(
    server, comfy, folder, node, place, words
):
    node["inputs"]["folder"] = place.format(there=folder)
    shown = {"class_type": "PreviewAny", "inputs": {"source": ["1", 1]}}
    with pytest.raises(comfy.PromptRejected, match=words):
        server.queue({"1": node, "2": shown})
