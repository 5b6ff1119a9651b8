"""The templates for models that come as diffusion model, text encoder and VAE: each runs over HTTP, through
ComfyUI's own loaders, on small files of the names that it gives, and trains as its family's recipe says.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from semantic_focus.settings import recipes
from semantic_focus.settings.recipes import Recipe

from .graphs import Graph, curves, on, picture, run_folder, train

if TYPE_CHECKING:
    from host.serve import ComfyServer

TEMPLATES = {
    "train_z_image_lora": recipes.Z_IMAGE,
    "train_flux_lora": recipes.FLUX_DEV,
    "train_qwen_image_lora": recipes.QWEN_IMAGE,
    "train_wan_lora": recipes.WAN,
}
SAMPLE, EMPTY, SHOW = "16", "15", "18"
SMALL = {
    "4": {"resolution": 128, "multiple_of": 32},
    "9": {"steps": 2},
    EMPTY: {"width": 128, "height": 128},
    SAMPLE: {"steps": 2},
}
TAKEN = {
    "train_z_image_lora": "rank 16, alpha 16, layers attention + feed-forward, "
    "timesteps logit_normal (mean 0.6931)",
    "train_flux_lora": "rank 16, alpha 16, layers attention + feed-forward, "
    "timesteps logit_normal (mean 1.15), guidance 1",
    "train_qwen_image_lora": "rank 16, alpha 16, layers attention + feed-forward, "
    "timesteps logit_normal (mean 0.7885)",
    "train_wan_lora": "rank 32, alpha 32, layers attention + feed-forward, "
    "timesteps logit_normal (mean 1.0986)",
}


def template(repo: Path, name: str) -> Graph:
    return json.loads((repo / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def server(
    comfy: ModuleType, repo: Path, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[ComfyServer]":
    """A ComfyUI with small files of all the names, and with what tells its loaders that they are small."""
    base = tmp_path_factory.mktemp("three_files")
    program = [comfy.environment_python(), repo / "tests" / "small_models" / "make.py"]
    subprocess.run([*program, comfy.comfyui_folder(), base / "models"], check=True, timeout=300)
    with comfy.ComfyServer(base, extra_custom_nodes=[repo / "tests" / "small_models"]) as running:
        yield running


@pytest.mark.parametrize(("name", "recipe"), TEMPLATES.items(), ids=TEMPLATES)
def test_a_template_samples_as_the_recipe_of_its_family(repo: Path, name: str, recipe: Recipe):
    graph, sampling = template(repo, name), recipe.preview
    found = graph[SAMPLE]["inputs"]
    assert (found["steps"], found["cfg"]) == (sampling.steps, sampling.cfg)
    assert (found["sampler_name"], found["scheduler"]) == (sampling.sampler, sampling.scheduler)
    guidances = [it["inputs"]["guidance"] for it in graph.values() if "guidance" in it["inputs"]]
    assert guidances == ([] if sampling.guidance is None else [sampling.guidance])
    size = graph[EMPTY]["inputs"]
    assert {graph["4"]["inputs"]["resolution"], size["width"], size["height"]} == {recipe.resolution}


@pytest.mark.parametrize(("name", "recipe"), TEMPLATES.items(), ids=TEMPLATES)
def test_a_template_trains_a_lora_as_its_family_wants_and_samples_with_it(
    server: "ComfyServer", repo: Path, one_woman: Path, name: str, recipe: Recipe
):
    graph = on(template(repo, name), one_woman)
    for node, inputs in SMALL.items():
        graph[node]["inputs"].update(inputs)
    folder, shown = train(server, graph, name)

    (report,) = shown["9"]["semantic_focus_training"]
    said = f"recipe {recipe.name}: learning_rate 0.0001, {TAKEN[name]}"
    # the text streams of a last block reach no picture: of a network with one block these are many
    notes = [note["text"] for note in report["notes"] if note["kind"] != "no_gradient"]
    assert notes == [said]
    assert folder == run_folder(server, name) and len(curves(folder)) == 2
    run = json.loads((folder / "run.json").read_text())["identity"]
    assert run["adapters"]["rank"] == recipe.rank
    assert run["training"]["timesteps"]["mean"] == recipe.timesteps.mean

    (saved,) = (server.base_directory / "output" / "loras").glob("my_person_*.safetensors")
    lora = load_file(saved)
    assert all(value.isfinite().all() for value in lora.values())
    assert any(value.abs().max() > 0 for key, value in lora.items() if "lora_up" in key)
    saved.unlink()
    (reference,) = shown[SHOW]["images"]
    with picture(server, reference) as sample:
        assert sample.size == (128, 128)
