"""What the pack adds to the editor around its nodes: settings, menu, toasts, a badge, help pages."""

import base64
import copy
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from .editor import EACH_ONCE, cells

if TYPE_CHECKING:
    from .editor import Editor

CANVAS = cells("canvas-pinned", "canvas-newer")
DATASET, SEGMENT, TRAIN, CACHE = 2, 3, 9, 90
FACE = (160, 110)
"""A pixel (x, y) of the face in the first picture of `dataset`."""
VERMILION = (213, 94, 0)
"""Of Okabe and Ito's colours for everybody."""
PALETTE = "SemanticFocus.Palette"

REMEMBER_EXECUTED = """() => {
    window.executed = [];
    window.comfyAPI.api.api.addEventListener("executed", ({detail}) => window.executed.push(detail.node));
}"""
IS_TRAINING = """async () => {
    const answer = await window.comfyAPI.api.api.fetchApi("/semantic_focus/training");
    return (await answer.json()).trainings.some(({state, step}) => state === "running" && step > 2);
}"""
SET = "([id, value]) => app.extensionManager.setting.set(id, value)"
GET = "id => app.extensionManager.setting.get(id)"
COMMANDS = """() => Object.fromEntries(app.extensionManager.command.commands
    .filter(({id}) => id.startsWith("SemanticFocus.")).map(({id, label}) => [id, label]))"""
SETTINGS = """() => app.extensions.flatMap(({settings}) => settings ?? [])
    .filter(({id}) => id.startsWith("SemanticFocus."))
    .map(({id, name, tooltip}) => [id, name, tooltip])"""


@pytest.fixture
def segmentation(
    workflow: dict[str, Any], dataset: Path, part_of: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """The part of the shared workflow that segments `dataset`."""
    part = part_of(workflow, DATASET, SEGMENT)
    part["nodes"][0]["widgets_values"][0] = str(dataset)
    return part


@pytest.fixture
def training(
    workflow: dict[str, Any], dataset: Path, stand_in_model: Path
) -> Callable[[int], dict[str, Any]]:
    """The shared workflow on `dataset` with so many steps, with sizes that run in seconds."""

    def small(steps: int) -> dict[str, Any]:
        graph = copy.deepcopy(workflow)
        nodes = {node["type"]: node for node in graph["nodes"]}
        nodes["CheckpointLoaderSimple"].update(
            type="SemanticFocusStandInCheckpoint", inputs=[], widgets_values=[stand_in_model.name]
        )
        nodes["SemanticFocusLoadDataset"]["widgets_values"][0] = str(dataset)
        nodes["SemanticFocusFit"]["widgets_values"] = [128, 16, ""]
        nodes["SemanticFocusTrain"]["widgets_values"][:6] = [steps, 1, 1e-3, "cosine", 4, 4.0]
        nodes["EmptySD3LatentImage"]["widgets_values"] = [128, 128, 1]
        nodes["KSampler"]["widgets_values"][2:4] = [2, 1.0]
        return graph

    return small


def execute(editor: "Editor", command: str) -> None:
    editor.command(f"SemanticFocus.{command}")


def said(editor: "Editor", *texts: str) -> Locator:
    """The toast that says all this: it does not stay until one text after the other is looked for."""
    toast = editor.page.locator(".p-toast-message, li[data-state=open]")
    for text in texts:
        toast = toast.filter(has_text=text)
    return toast.locator("visible=true").first


def painted_face(editor: "Editor") -> np.ndarray:
    """Float[3]: what the overlay shows where the face is."""
    canvas = editor.page.locator(".semantic-focus-overlay").locator("visible=true").locator("canvas").first
    url = canvas.evaluate("canvas => canvas.toDataURL('image/png')")
    pixels = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    return np.asarray(pixels)[FACE[1], FACE[0]].astype(float)


def tinted(dataset: Path, colour: tuple[int, int, int], share: float) -> np.ndarray:
    """Float[3]: the picture's own colour there, moved towards another."""
    below = np.asarray(Image.open(dataset / "one.png").convert("RGB"))[FACE[1], FACE[0]].astype(float)
    return below + (np.array(colour) - below) * share


def eventually_painted(editor: "Editor", expected: np.ndarray) -> None:
    for _ in range(100):
        if np.abs(painted_face(editor) - expected).max() <= 2:
            return
        editor.settle()
    pytest.fail(f"the face is {painted_face(editor)}, not {expected}", pytrace=False)


@EACH_ONCE
def test_the_palette_of_the_settings_recolours_what_is_shown(
    anywhere: "Editor", segmentation: dict[str, Any], dataset: Path
):
    editor = anywhere
    editor.load(segmentation)
    editor.run()
    editor.page.locator(".semantic-focus-overlay").get_by_text("1/2").locator("visible=true").wait_for()

    execute(editor, "ColourBlindSafe")
    said(editor, "colour-blind-safe colours").wait_for()
    eventually_painted(editor, tinted(dataset, VERMILION, 0.6))

    editor.page.evaluate(SET, ["SemanticFocus.Colour.face", "0000ff"])
    editor.page.evaluate(SET, [PALETTE, "own"])
    eventually_painted(editor, tinted(dataset, (0, 0, 255), 0.6))
    editor.page.evaluate(SET, ["SemanticFocus.Opacity", 0.25])
    eventually_painted(editor, tinted(dataset, (0, 0, 255), 0.25))
    editor.set("SemanticFocus.Colour.face", "e84e46")
    assert editor.errors == []


@pytest.mark.parametrize(("face", "former"), [("0000ff", "own"), ("e84e46", "standard")])
def test_after_a_reload_leaving_the_colour_blind_safe_colours_brings_own_ones_back(
    show: "Callable[..., Editor]", face: str, former: str
):
    editor = show({PALETTE: "colour-blind safe", "SemanticFocus.Colour.face": face})
    execute(editor, "ColourBlindSafe")
    said(editor, "former colours").wait_for()
    assert editor.page.evaluate(GET, PALETTE) == former
    editor.set("SemanticFocus.Colour.face", "e84e46")
    editor.set(PALETTE, "standard")
    assert editor.errors == []


@CANVAS
def test_the_settings_open_at_the_packs_page_and_change_what_they_say(anywhere: "Editor"):
    editor = anywhere
    execute(editor, "Settings")
    dialog = editor.page.get_by_role("dialog").locator("visible=true").first
    for name in ("Colours of the regions", "Own colour: face", "Step of the weight sliders"):
        dialog.get_by_text(name, exact=True).wait_for()
    dialog.get_by_role("combobox").get_by_text("Standard").or_(
        dialog.get_by_role("combobox", name="Colours of the regions")
    ).first.click()
    editor.page.get_by_role("option", name="Colour-blind safe").click()
    editor.page.wait_for_function(f"() => ({GET})('{PALETTE}') === 'colour-blind safe'")
    assert editor.errors == []


@CANVAS
def test_the_about_page_names_the_pack_and_its_version(anywhere: "Editor", repo: Path):
    editor = anywhere
    execute(editor, "Settings")
    dialog = editor.page.get_by_role("dialog").locator("visible=true").first
    dialog.get_by_text("About", exact=True).first.click()
    badge = dialog.get_by_role("link", name="SemanticFocus")
    project = (repo / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version
    expect(badge).to_have_text(f"SemanticFocus {version[1]}")
    assert f'Repository = "{badge.get_attribute("href")}"' in project


@CANVAS
def test_the_menu_has_the_packs_commands_and_they_say_why_there_is_nothing_to_do(anywhere: "Editor"):
    editor = anywhere
    menu = editor.page.locator(".comfy-menu-button-wrapper, .comfyui-logo").locator("visible=true").first
    menu.click()
    editor.page.get_by_text("Semantic Focus", exact=True).locator("visible=true").first.hover()
    entry = editor.page.get_by_role("menuitem", name="Generate masks of the dataset")
    entry.locator("visible=true").first.click()
    said(editor, "This workflow has no Cache Dataset Masks").wait_for()
    execute(editor, "PreviewSegmentation")
    said(editor, "This workflow has no node that segments").wait_for()
    execute(editor, "StopTraining")
    said(editor, "No training is running.").wait_for()
    assert editor.errors == []


def test_commands_and_settings_are_named_as_the_english_texts_say(editor: "Editor", repo: Path):
    editor = editor
    texts = repo / "locales" / "en"
    commands = json.loads((texts / "commands.json").read_text(encoding="utf-8"))
    shown = editor.page.evaluate(COMMANDS)
    assert {name.replace(".", "_"): {"label": label} for name, label in shown.items()} == commands

    settings = json.loads((texts / "settings.json").read_text(encoding="utf-8"))
    found = editor.page.evaluate(SETTINGS)
    assert {name.replace(".", "_") for name, *_ in found} == set(settings)
    for name, label, tooltip in found:
        text = settings[name.replace(".", "_")]
        assert (label, tooltip) == (text["name"], text.get("tooltip"))


def test_preview_segmentation_trains_nothing(editor: "Editor", training: Callable[[int], dict[str, Any]]):
    editor = editor
    editor.load(training(3))
    editor.page.evaluate(REMEMBER_EXECUTED)
    execute(editor, "PreviewSegmentation")
    overlay = editor.page.locator(".semantic-focus-overlay").locator("visible=true")
    overlay.get_by_text("1/2").wait_for()
    queue_is_empty = "async () => (await window.comfyAPI.api.api.getQueue()).Running.length === 0"
    editor.until(queue_is_empty)
    executed = editor.page.evaluate("() => window.executed")
    assert str(SEGMENT) in executed
    assert str(TRAIN) not in executed


@CANVAS
def test_a_training_says_when_it_is_finished_and_one_that_is_stopped_where_it_is_kept(
    anywhere: "Editor", training: Callable[[int], dict[str, Any]]
):
    editor = anywhere
    part = training(2)
    seed = next(node for node in part["nodes"] if node["id"] == TRAIN)["widgets_values"]
    seed[8] = 1001
    runs = editor.server.base_directory / "output" / "semantic_focus"
    of_others = set(runs.glob("*/state_*.safetensors"))
    editor.load(part)
    editor.press_run()
    said(editor, "Training finished", ": 2 steps, loss ").wait_for()

    part = training(100_000)
    editor.load(part)
    editor.press_run()
    editor.until(IS_TRAINING)
    execute(editor, "StopTraining")
    said(editor, "Training stopped at step", "State and LoRA are kept in").wait_for()
    folders = {state.parent for state in set(runs.glob("*/state_*.safetensors")) - of_others}
    assert len(folders) == 2
    assert editor.errors == []


@EACH_ONCE
def test_what_a_run_leaves_out_because_it_is_refused_is_said(
    anywhere: "Editor", training: Callable[[int], dict[str, Any]]
):
    """ComfyUI runs the other outputs, and the editor only colours the node."""
    editor, graph = anywhere, training(1)
    node = next(node for node in graph["nodes"] if node["type"] == "SemanticFocusTrain")
    node["widgets_values"] = [
        "anna/2025" if value == "my_person" else value for value in node["widgets_values"]
    ]
    editor.load(graph)
    editor.press_run()
    said(editor, "Not all of this workflow runs", "LoRA Train Step, run_name: 'anna/2025'").wait_for()
    assert editor.own_errors() == []


def test_of_a_training_stopped_before_its_first_step_it_is_said_that_nothing_is_kept(editor: "Editor"):
    editor = editor
    editor.page.evaluate(
        """report => {
            const {api} = window.comfyAPI.api;
            api.dispatchCustomEvent("execution_start", {prompt_id: report.prompt});
            api.dispatchCustomEvent("semantic_focus.training", report);
        }""",
        {"prompt": "stopped at once", "state": "stopped", "kept": None, "step": 0},
    )
    said(editor, "Training stopped before its first step", "There was nothing to keep.").wait_for()


@CANVAS
def test_generating_masks_says_how_many_were_made(
    anywhere: "Editor", make_dataset: Callable[[Path], Path], tmp_path: Path
):
    folder = make_dataset(tmp_path / "pictures")
    editor = anywhere
    editor.load(EMPTY)
    editor.page.evaluate(
        """folder => {
            const node = LiteGraph.createNode("SemanticFocusCacheDataset");
            app.graph.add(node);
            node.widgets.find(({name}) => name === "folder").value = folder;
        }""",
        str(folder),
    )
    execute(editor, "GenerateMasks")
    said(editor, "2 made").wait_for()
    assert len(list(folder.glob("*_zi_masks.safetensors"))) == 2
    assert editor.errors == []


EMPTY = {
    "last_node_id": 0,
    "last_link_id": 0,
    "nodes": [],
    "links": [],
    "groups": [],
    "config": {},
    "extra": {},
    "version": 0.4,
}
