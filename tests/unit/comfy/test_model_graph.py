"""The nodes that give a model, as far as they need no ComfyUI."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from semantic_focus.comfy import model_graph
from semantic_focus.comfy.model_graph import CannotBeRunAgainError, read_model_graph, upstream


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": "not kept"}}


GRAPH = {
    "9": node("SemanticFocusTrain", model=["3:1", 0], latents=["7", 0]),
    "3:1": node("LoraLoader", model=["1", 0], clip=["2", 0], lora_name="a.safetensors", strength=0.5),
    "2": node("CLIPLoader", clip_name="clip.safetensors"),
    "7": node("VAEEncode", pixels=["8", 0]),
    "1": node("UNETLoader", unet_name="model.safetensors"),
    "5": node("LoraModelLoader", model=["1", 0], lora=["9", 0]),
    "6": node("ModelSamplingSD3", model=["gone", 0]),
}


def test_it_is_what_the_model_comes_from_and_no_more():
    found = upstream(GRAPH, ["3:1", 0])
    assert list(found) == ["3:1", "2", "1"]
    assert found["1"] == {"class_type": "UNETLoader", "inputs": {"unet_name": "model.safetensors"}}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("5", r"a LoRA of node 9 \(SemanticFocusTrain\), which another process would have to train again"),
        ("6", "node gone, from which the model comes, is not in the graph"),
    ],
)
def test_nodes_that_cannot_be_run_again_are_named(source: str, said: str):
    with pytest.raises(CannotBeRunAgainError, match=said):
        upstream(GRAPH, [source, 0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "cannot be read"),
        ("[1]", "no graph that the node Save Training Job has written"),
        ('{"weight_map": {}}', "no graph that the node Save Training Job has written"),
        ('{"nodes": {}, "format": 2}', "its format is 2, this version reads 1"),
    ],
)
def test_another_file_is_refused_in_words(tmp_path: Path, content: str | None, said: str):
    path = tmp_path / "model.safetensors.index.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=said) as error:
        read_model_graph(path)
    assert str(path) in str(error.value)


def test_programs_come_from_no_folder_that_the_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    added: list[tuple[str, str]] = []
    fake = SimpleNamespace(add_model_folder_path=lambda kind, folder: added.append((kind, folder)))
    monkeypatch.setitem(sys.modules, "folder_paths", fake)
    folders = {
        "loras": [str(tmp_path), str(tmp_path / "gone")],
        "custom_nodes": [str(tmp_path)],
        "configs": [],
    }
    model_graph._add_folders(json.loads(json.dumps(folders)))
    assert added == [("loras", str(tmp_path))]
