"""Every workflow that is shared does what its note promises, over HTTP, on a small model and photographs."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from semantic_focus.training.preview_grid import GAP, MARGIN

from .graphs import Graph, node, on, run_folder, up_to

if TYPE_CHECKING:
    from host.serve import ComfyServer

SmallWorkflow = Callable[[str], Graph]

PERSONS, SEGMENT, PREVIEW = "19", "3", "20"
"""Node ids of several_people."""
BEFORE, AFTER = "20", "21"
"""The comparisons of resume_and_compare."""
ANYBODY = "face: 1\nhair: 1\nclothing: 1\nbody: 1"


@pytest.fixture
def people(photographs: Path, tmp_path: Path) -> Path:
    """Two men side by side, and a street with four people."""
    folder = tmp_path / "people"
    folder.mkdir()
    for name in ("bus", "zidane"):
        photograph = Image.open(photographs / f"{name}.jpg")
        photograph.reduce(2).save(folder / f"{name}.jpg", quality=95)
        (folder / f"{name}.txt").write_text("people")
    return folder


def steps(folder: Path) -> list[dict[str, Any]]:
    """What the training wrote of each step."""
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]


def objective(folder: Path) -> dict[str, Any]:
    """What was trained, as the run keeps it."""
    return json.loads((folder / "run.json").read_text())["identity"]["objective"]


def saved_loras(server: "ComfyServer", prefix: str) -> list[Path]:
    """What Save LoRA has written, oldest first."""
    found = (server.base_directory / "output" / "loras").glob(f"{prefix}_2*.safetensors")
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def is_trained(lora: Path) -> bool:
    return any(tensor.abs().max() > 0 for key, tensor in load_file(lora).items() if "lora_up" in key)


def grey(png: bytes) -> np.ndarray:
    """Float[H, W] in 0..1."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("L")) / 255


def test_every_api_file_has_what_comfyui_asks_for_since_0_28(repo: Path):
    """Older versions do not know the input, and run the file as well."""
    for path in (repo / "workflows" / "api").glob("*.json"):
        for it in json.loads(path.read_text(encoding="utf-8")).values():
            if it["class_type"] == "LoraModelLoader":
                assert it["inputs"]["bypass"] is False, path.stem


def test_the_short_way_trains_on_pictures_without_captions_and_samples_on_the_way(
    server: "ComfyServer", small_workflow: SmallWorkflow, one_woman: Path, tmp_path: Path
):
    pictures = shutil.copytree(one_woman, tmp_path / "pictures", ignore=shutil.ignore_patterns("*.txt"))
    graph = on(small_workflow("train_by_region_simple"), pictures)
    graph["4"]["inputs"]["run_name"] = "short"
    graph["7"]["inputs"]["every"] = 2
    outputs = server.run(graph)["outputs"]
    folder = run_folder(server, "short")
    assert objective(folder)["weights"]["face"] == 1 and len(steps(folder)) == 3
    assert (folder / "previews" / "grid.png").is_file()
    assert is_trained(saved_loras(server, "my_person")[-1])
    shown = outputs["2"]["semantic_focus"]  # for the sliders of the weights
    assert [preview["place"] is not None for preview in shown] == [True, True]


def test_an_outfit_is_trained_in_its_clothes_while_the_face_is_held(
    server: "ComfyServer", small_workflow: SmallWorkflow, one_woman: Path
):
    outputs = server.run(on(small_workflow("train_outfit_lora"), one_woman))["outputs"]
    folder = run_folder(server, "my_outfit")
    weights = objective(folder)["weights"]
    assert weights == {
        "face": 0, "body": 0.5, "clothing": 1, "hair": 0, "background": 0, "lighting": 0,
    }  # fmt: skip
    # in the first step the LoRA is still nothing, so that the prior has no gradient
    share = steps(folder)[0]["gradient_share"]
    assert share["clothing"] > 0.5 > 0.1 > share["face"]
    assert is_trained(saved_loras(server, "my_outfit")[-1])
    assert server.view(outputs["18"]["images"][0]).startswith(b"\x89PNG")


def test_a_style_is_trained_on_whole_pictures_or_on_their_light_alone(
    server: "ComfyServer", small_workflow: SmallWorkflow, one_woman: Path
):
    graph = on(small_workflow("train_style_lora"), one_woman)
    server.run(graph)
    assert objective(run_folder(server, "my_style"))["enabled"] is False
    whole = saved_loras(server, "my_style")[-1]
    graph["8"]["inputs"].update(enabled=True, global_fallback=0.0)
    graph["9"]["inputs"]["run_name"] = "light"
    server.run(graph)
    light = run_folder(server, "light")
    assert objective(light)["enabled"] is True
    trained = {name: weight for name, weight in objective(light)["weights"].items() if weight}
    assert trained == {"lighting": 0.5}
    lora = saved_loras(server, "my_style")[-1]
    assert lora != whole and is_trained(whole) and is_trained(lora)
    assert lora.read_bytes() != whole.read_bytes()


def test_of_several_people_only_the_chosen_ones_stay(
    server: "ComfyServer", small_workflow: SmallWorkflow, people: Path
):
    graph = on(small_workflow("several_people"), people)
    graph["sum"] = node("SemanticFocusToMask", masks=[PERSONS, 0], weights=ANYBODY, global_fallback=0.0)
    graph["as_image"] = node("MaskToImage", mask=["sum", 0])
    graph["save"] = node("SaveImage", images=["as_image", 0], filename_prefix="persons")

    def bodies(which: str) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Per picture (bus, zidane) where somebody counts."""
        graph[PERSONS]["inputs"]["which"] = which
        needed = {PERSONS, SEGMENT, PREVIEW, "sum", "as_image", "save", "2", "4"}
        outputs = server.run({key: graph[key] for key in needed})["outputs"]
        return [grey(server.view(it)) > 0.5 for it in outputs["save"]["images"]], outputs

    everybody, outputs = bodies("all")
    street, two_men = (shown["persons"] for shown in outputs[SEGMENT]["semantic_focus"])
    assert street > 2 and two_men == 2
    left, _ = bodies("1")
    largest, outputs = bodies("largest")
    assert [shown["persons"] for shown in outputs[PERSONS]["semantic_focus"]] == [1, 1]
    for all_of_them, *chosen in zip(everybody, left, largest, strict=True):
        for mask in chosen:
            assert mask.any() and not (mask & ~all_of_them).any()
            assert mask.sum() < 0.9 * all_of_them.sum()
    columns = np.arange(everybody[1].shape[1])
    assert columns[left[1].any(0)].mean() < columns[everybody[1].any(0)].mean()
    assert {shown["persons"] for shown in outputs[PREVIEW]["semantic_focus"]} == {1}

    server.run({key: it for key, it in graph.items() if key not in ("sum", "as_image", "save")})
    assert is_trained(saved_loras(server, "one_of_several")[-1])


def test_masks_for_other_trainers_are_the_weighted_sums_of_the_mask_files(
    server: "ComfyServer", small_workflow: SmallWorkflow, make_dataset: Callable[[Path], Path], tmp_path: Path
):
    folder = make_dataset(tmp_path / "astronaut")
    for caption in folder.glob("*.txt"):
        caption.unlink()
    outputs = server.run(on(small_workflow("masks_only"), folder))["outputs"]
    files = [folder / f"{name}_zi_masks.safetensors" for name in ("one", "two")]
    assert sorted(folder.glob("*.safetensors")) == files
    assert server.view(outputs["2"]["images"][0]).startswith(b"\x89PNG")
    (place,) = (server.base_directory / "output" / "masks").glob("astronaut_*")
    assert sorted(path.name for path in place.iterdir()) == ["one.png", "two.png"]
    assert f"2 mask pictures in {place}" in outputs["6"]["text"][0]
    assert len(outputs["6"]["images"]) == 2
    for file, name in zip(files, ("one", "two"), strict=True):
        masks = load_file(file)
        face, hair = (grey(masks[f"{name}_mask"].numpy().tobytes()) for name in ("face", "hair"))
        expected = (face + 0.5 * hair).clip(max=1)
        assert 0.05 < expected.mean() < 0.6
        np.testing.assert_allclose(grey((place / f"{name}.png").read_bytes()), expected, atol=1.5 / 255)


def test_a_training_goes_on_and_both_loras_are_measured_on_the_same_pictures(
    server: "ComfyServer", small_workflow: SmallWorkflow, one_woman: Path, preview: dict[str, Any]
):
    first = on(up_to(small_workflow("train_person_lora"), 10), one_woman)
    first["9"]["inputs"]["run_name"] = "begun"
    server.run(first)
    graph = on(small_workflow("resume_and_compare"), one_woman)
    graph["12"]["inputs"]["path"] = "semantic_focus/begun"
    graph["19"]["inputs"]["lora_name"] = saved_loras(server, "my_person")[-1].name
    graph["samples"] = {**preview, "inputs": {**preview["inputs"], "positive": ["18", 0], "steps": 1}}
    for compared in (BEFORE, AFTER):
        graph[compared]["inputs"]["preview"] = ["samples", 0]
    outputs = server.run(graph)["outputs"]

    begun, more = run_folder(server, "begun"), run_folder(server, "my_person_more")
    assert sorted(path.name for path in more.glob("lora_*")) == ["lora_000006.safetensors"]
    assert [step["step"] for step in steps(more)][-3:] == [4, 5, 6]
    ends = [load_file(begun / "lora_000003.safetensors"), load_file(more / "lora_000006.safetensors")]
    assert ends[0].keys() == ends[1].keys()
    assert any((ends[0][key] != ends[1][key]).any() for key in ends[0])

    before, after = (
        {row["region"]: row for row in json.loads(outputs[place]["semantic_focus_report"][0])}
        for place in (BEFORE, AFTER)
    )
    assert before.keys() == after.keys() >= {"face", "hair", "clothing", "background"}
    for region in ("face", "hair", "clothing", "background"):
        assert before[region]["error_before"] == pytest.approx(after[region]["error_before"])
        assert 0 < before[region]["drift"] != after[region]["drift"] > 0
    assert server.view(outputs["11"]["images"][0]).startswith(b"\x89PNG")
    # the base paints the same on the left of both, each LoRA something of its own on the right
    captions = len(list(one_woman.glob("*.txt")))
    for files in zip(*(outputs[place]["images"] for place in (BEFORE, AFTER)), strict=True):
        one, other = (grey(server.view(file))[MARGIN:] for file in files)
        width = (one.shape[1] - GAP) // 2
        assert (one[:, :width] == other[:, :width]).all()
        assert (one[:, :width] != one[:, -width:]).any() and (one[:, -width:] != other[:, -width:]).any()
        captions -= 1
    assert captions == 0
