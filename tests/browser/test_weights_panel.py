"""The weights panel of Semantic Cosine Loss, in every editor and renderer that ComfyUI's users have."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from semantic_focus.categories import PRESETS, SEMANTIC_CATEGORIES

if TYPE_CHECKING:
    from conftest import Editor

DATASET, SEGMENT, FIT, ENCODE, TO_LATENT, OBJECTIVE, TRAIN = 2, 3, 4, 5, 6, 8, 9
ORDER = [
    "enabled",
    "preset",
    *(f"{name}_weight" for name in SEMANTIC_CATEGORIES),
    "global_fallback",
    "cosine_weight",
    "magnitude_weight",
    "prior_weight",
    "more_weights",
]
START = [True, "custom", 1.4, 0.3, 0.2, 0.65, 0.05, 0.0, 0.15, 1.0, 0.5, 2.0, "tattoo: 0.85"]
FAINTEST, STRONGEST, MOST = 0.5, 0.8, 2.0
"""Opacity of the heat of a weight just above 0 and of 2."""
WALK = """async id => {
    const {overlaysFor} = await import("/extensions/ComfyUI-SemanticFocus/lib/graph_walk.mjs");
    return overlaysFor(app.graph.getNodeById(id)).map(found => found.id);
}"""


@pytest.fixture
def training(
    workflow: dict[str, Any], dataset: Path, part_of: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """The shared workflow around the objective, which is in view; its values are nobody's defaults."""
    kept = (DATASET, SEGMENT, FIT, ENCODE, TO_LATENT, OBJECTIVE, TRAIN)
    part = part_of(workflow, *kept)
    for node in part["nodes"]:
        node["pos"] = [1200 + 30 * node["id"], 1200 + 30 * node["id"]]
    node_of(part, DATASET)["widgets_values"][0] = str(dataset)
    objective = node_of(part, OBJECTIVE)
    objective.update(pos=[350, 150], size=[500, 560], widgets_values=list(START))
    part["extra"] = {"ds": {"scale": 1, "offset": [0, 0]}}
    return part


def node_of(workflow: dict[str, Any], node: int) -> dict[str, Any]:
    return next(it for it in workflow["nodes"] if it["id"] == node)


def panel(editor: "Editor") -> Locator:
    return editor.page.locator(".sf-weights").locator("visible=true")


def row(editor: "Editor", name: str) -> Locator:
    return panel(editor).locator(f'[data-weight="{name}"]')


def slider(editor: "Editor", name: str) -> Locator:
    return row(editor, name).get_by_role("slider")


def number(editor: "Editor", name: str) -> Locator:
    return row(editor, name).get_by_role("textbox")


def inputs(editor: "Editor", node: str = str(OBJECTIVE)) -> dict[str, Any]:
    """What Run would send for the objective."""
    editor.settle()
    return editor.prompt()[node]["inputs"]


def expected(**changes: Any) -> dict[str, Any]:
    """The inputs that the workflow was loaded with, with some changes."""
    return {**dict(zip(ORDER, START, strict=True)), **changes}


def weights_of(preset: str) -> dict[str, float]:
    return {f"{name}_weight": weight for name, weight in PRESETS[preset].weights.items()}


def drag(editor: "Editor", name: str, share: float) -> None:
    """Take the slider's thumb to a share of its way, in small steps."""
    handle = slider(editor, name)
    box = handle.bounding_box()
    assert box
    value = float(handle.input_value()) / MOST
    thumb = 10
    at = [box["x"] + thumb / 2 + place * (box["width"] - thumb) for place in (value, share)]
    editor.page.mouse.move(at[0], box["y"] + box["height"] / 2)
    editor.page.mouse.down()
    editor.page.mouse.move(at[1], box["y"] + box["height"] / 2, steps=8)
    editor.page.mouse.up()
    editor.settle()


def preview(editor: "Editor") -> None:
    """Press the button, and wait for the miniature."""
    panel(editor).get_by_role("button", name="Preview segmentation").click()
    panel(editor).get_by_text("1/2").wait_for(timeout=60_000)
    editor.settle()


def pixels(editor: "Editor") -> np.ndarray:
    """uint8[H, W, 4]: the heat over the grey picture."""
    url = panel(editor).locator(".sf-heat").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def shown_weights(editor: "Editor") -> np.ndarray:
    """Float[H, W]: the weights that the miniature shows, read from its opacity; 0 where it is hatched."""
    heat = pixels(editor)
    share = (heat[..., 3] / 255 - FAINTEST) / (STRONGEST - FAINTEST)
    return np.where(heat[..., :3].sum(-1) == 0, 0, share * MOST)


def true_weights(editor: "Editor", weights: dict[str, float], rest: float) -> np.ndarray:
    """Float[H, W]: the weight of each pixel, from the map that the segmentation node reported."""
    reported = editor.page.evaluate(f"() => app.nodeOutputs[{SEGMENT}].semantic_focus[0]")
    address = f"{editor.page.url.partition('#')[0].rstrip('/')}/view"
    file = editor.page.request.get(address, params=reported["map"]).body()
    read = np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)
    names = [region["name"] for region in reported["regions"]]
    indices = read[..., 0] // (255 // len(names))
    by_index = np.array([rest, *(weights[name] for name in names)])
    return by_index[indices] + weights["lighting"] * read[..., 1] / 255


def test_what_the_panel_does_is_what_the_inputs_have(anywhere: "Editor", training: dict[str, Any]):
    anywhere.load(training)
    assert inputs(anywhere) == expected()
    drag(anywhere, "face", 0.4)
    assert inputs(anywhere) == expected(face_weight=0.8)
    assert number(anywhere, "face").input_value() == "0.80"

    number(anywhere, "hair").fill("1,234")
    number(anywhere, "hair").press("Enter")
    assert inputs(anywhere) == expected(face_weight=0.8, hair_weight=1.234)
    slider(anywhere, "body").focus()
    slider(anywhere, "body").press("ArrowRight")
    slider(anywhere, "body").press("ArrowUp")
    assert inputs(anywhere) == expected(face_weight=0.8, hair_weight=1.234, body_weight=0.4)
    assert slider(anywhere, "body").get_attribute("aria-valuetext") == "0.40"
    slider(anywhere, "global_fallback").press("Home")
    panel(anywhere).get_by_role("switch").click()
    changed = expected(face_weight=0.8, hair_weight=1.234, body_weight=0.4, global_fallback=0, enabled=False)
    assert inputs(anywhere) == changed

    panel(anywhere).get_by_role("combobox").select_option("outfit")
    changed |= {"preset": "outfit", **weights_of("outfit")}
    assert inputs(anywhere) == changed
    drag(anywhere, "face", 0.75)
    assert inputs(anywhere) == {**changed, "preset": "custom", "face_weight": 1.5}
    assert "semantic_focus_weights" not in inputs(anywhere)
    assert anywhere.errors == []


def test_one_drag_is_one_step_of_undo_also_with_the_keys(anywhere: "Editor", training: dict[str, Any]):
    anywhere.load(training)
    size = node_of(anywhere.workflow(), OBJECTIVE)["size"]
    drag(anywhere, "face", 0.4)
    drag(anywhere, "body", 0.5)
    anywhere.page.keyboard.press("Control+z")
    expect(number(anywhere, "body")).to_have_value("0.30")
    assert inputs(anywhere) == expected(face_weight=0.8)
    anywhere.command("Comfy.Undo")
    expect(number(anywhere, "face")).to_have_value("1.40")
    assert inputs(anywhere) == expected()
    anywhere.command("Comfy.Redo")
    expect(number(anywhere, "face")).to_have_value("0.80")
    assert inputs(anywhere) == expected(face_weight=0.8)
    drag(anywhere, "hair", 0.5)
    assert inputs(anywhere) == expected(face_weight=0.8, hair_weight=1)
    assert node_of(anywhere.workflow(), OBJECTIVE)["size"] == size
    assert anywhere.errors == []


def test_the_miniature_shows_the_weight_of_every_pixel(anywhere: "Editor", training: dict[str, Any]):
    node_of(training, OBJECTIVE)["widgets_values"][7] = 0.4  # lighting
    anywhere.load(training)
    preview(anywhere)
    weights = {"face": 1.4, "body": 0.3, "clothing": 0.2, "hair": 0.65, "background": 0.05, "lighting": 0.4}
    step = MOST / (255 * (STRONGEST - FAINTEST))  # of the 8 bits of the opacity
    truth = true_weights(anywhere, weights, rest=0.15)
    assert np.abs(shown_weights(anywhere) - truth).max() <= step

    drag(anywhere, "background", 0)
    drag(anywhere, "lighting", 0)
    drag(anywhere, "face", 1)
    truth = true_weights(anywhere, weights | {"background": 0, "lighting": 0, "face": 2}, rest=0.15)
    shown = shown_weights(anywhere)
    assert np.abs(shown - truth).max() <= step
    assert ((shown == 0) == (truth == 0)).all()
    hatching = pixels(anywhere)[..., 3][truth == 0]
    assert len(np.unique(hatching)) == 2

    panel(anywhere).get_by_label("next picture").click()
    panel(anywhere).get_by_text("2/2").wait_for()
    assert pixels(anywhere).shape == (480, 360, 4)
    assert not anywhere.own_errors()


def test_a_linked_input_says_so_and_its_native_widget_shows_the_link(
    anywhere: "Editor", training: dict[str, Any]
):
    add_number(training, 1.7)
    anywhere.load(training)
    expect(slider(anywhere, "face")).to_be_disabled()
    expect(number(anywhere, "face")).to_have_value("1.70")
    expect(slider(anywhere, "body")).to_be_enabled()
    hidden = "name => app.graph.getNodeById(8).widgets.find(w => w.name === name).options.hidden"
    assert anywhere.page.evaluate(hidden, "face_weight") is False
    assert anywhere.page.evaluate(hidden, "body_weight") is True
    assert inputs(anywhere) == expected(face_weight=[str(NUMBER), 0])
    panel(anywhere).get_by_role("combobox").select_option("outfit")
    panel(anywhere).get_by_role("combobox").select_option("custom")
    panel(anywhere).get_by_label("reset all values").click()
    assert inputs(anywhere)["face_weight"] == [str(NUMBER), 0]

    anywhere.page.evaluate("() => app.graph.getNodeById(8).disconnectInput(2)")
    expect(slider(anywhere, "face")).to_be_enabled()
    assert anywhere.page.evaluate(hidden, "face_weight") is True
    assert anywhere.errors == []


NUMBER = 70


def add_number(workflow: dict[str, Any], value: float) -> None:
    """Link face_weight to a node with a number."""
    workflow["nodes"].append(
        {
            "id": NUMBER,
            "type": "PrimitiveFloat",
            "pos": [20, 150],
            "size": [270, 60],
            "flags": {},
            "order": 0,
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": "FLOAT", "type": "FLOAT", "links": [170]}],
            "properties": {},
            "widgets_values": [value],
        }
    )
    workflow["links"].append([170, NUMBER, 0, OBJECTIVE, 2, "FLOAT"])
    node_of(workflow, OBJECTIVE)["inputs"][2]["link"] = 170


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_nothing_stands_in_the_way_of_keyboard_and_reader(
    open_editor: "Callable[..., Editor]", training: dict[str, Any], palette: str
):
    editor = open_editor({"Comfy.ColorPalette": palette})
    editor.load(training)
    preview(editor)
    panel(editor).locator("summary").click()
    panel(editor).get_by_role("button", name="category").click()
    panel(editor).get_by_label("name of the category").wait_for()
    assert editor.violations(".sf-weights") == []
    row(editor, "face").get_by_role("button", name="face: set to 0").focus()
    reached = []
    for _ in range(3):
        editor.page.keyboard.press("Tab")
        reached.append(editor.page.evaluate("() => document.activeElement.getAttribute('aria-label')"))
    assert reached == ["face", "face, typed", "face: reset to the default"]
    assert editor.errors == []


def test_a_row_goes_back_to_its_default_and_to_zero_and_back(editor: "Editor", training: dict[str, Any]):
    editor.load(training)
    row(editor, "face").get_by_label("reset to the default").click()
    assert inputs(editor) == expected(face_weight=1.0)
    row(editor, "hair").locator(".sf-name").dblclick()
    assert inputs(editor) == expected(face_weight=1.0, hair_weight=0.6)
    row(editor, "body").get_by_label("set to 0").click()
    assert inputs(editor)["body_weight"] == 0
    editor.load(editor.workflow())
    row(editor, "body").get_by_label("back to its weight before").click()
    assert inputs(editor) == expected(face_weight=1.0, hair_weight=0.6)
    panel(editor).get_by_label("reset all values").click()
    defaults = {name: category.default_weight for name, category in SEMANTIC_CATEGORIES.items()}
    assert inputs(editor) == {
        "enabled": True,
        "preset": "custom",
        **{f"{name}_weight": weight for name, weight in defaults.items()},
        "global_fallback": 0.1,
        "cosine_weight": 1.0,
        "magnitude_weight": 1.0,
        "prior_weight": 4.0,
        "more_weights": "",
    }
    editor.command("Comfy.Undo")
    expect(row(editor, "more_weights.tattoo")).to_be_visible()
    assert inputs(editor) == expected(face_weight=1.0, hair_weight=0.6)


@pytest.mark.parametrize("typed", ["2.5", "-1", "much", ""])
def test_what_is_no_weight_is_refused_and_the_old_one_stays(
    editor: "Editor", training: dict[str, Any], typed: str
):
    editor.load(training)
    number(editor, "face").fill(typed)
    number(editor, "face").press("Enter")
    expect(number(editor, "face")).to_have_value("1.40")
    expect(panel(editor).get_by_role("status")).to_contain_text("no number from 0 to 2")
    assert inputs(editor) == expected()


def test_categories_of_the_users_own_are_lines_of_more_weights(editor: "Editor", training: dict[str, Any]):
    keywords = node_of(training, SEGMENT)["widgets_values"]
    keywords[2] += "\nscarf: scarf"
    editor.load(training)
    drag(editor, "more_weights.tattoo", 0.5)
    assert inputs(editor) == expected(more_weights="tattoo: 1")
    panel(editor).get_by_role("button", name="category").click()
    name = panel(editor).get_by_label("name of the category")
    name.fill("2 rings")
    name.press("Enter")
    expect(panel(editor).get_by_role("status")).to_contain_text("cannot be a name")
    name.fill("tattoo")
    name.press("Enter")
    expect(panel(editor).get_by_role("status")).to_contain_text("has a weight already")
    name.fill("红色 scarf-2")
    panel(editor).get_by_role("button", name="Add").click()
    assert inputs(editor) == expected(more_weights="tattoo: 1\n红色 scarf-2: 1")

    preview(editor)
    panel(editor).get_by_role("button", name="+ scarf").click()
    assert inputs(editor)["more_weights"] == "tattoo: 1\n红色 scarf-2: 1\nscarf: 1"
    expect(panel(editor).get_by_role("button", name="+ scarf")).to_have_count(0)
    row(editor, "more_weights.tattoo").get_by_label("remove").click()
    assert inputs(editor)["more_weights"] == "红色 scarf-2: 1\nscarf: 1"
    editor.command("Comfy.Undo")
    expect(row(editor, "more_weights.tattoo")).to_be_visible()
    assert inputs(editor)["more_weights"] == "tattoo: 1\n红色 scarf-2: 1\nscarf: 1"
    assert editor.errors == []


def test_a_line_of_more_weights_that_cannot_be_read_stays_and_is_named(
    editor: "Editor", training: dict[str, Any]
):
    text = "a hat\ntattoo: 0.5\nface: 0.7"
    node_of(training, OBJECTIVE)["widgets_values"][-1] = text
    editor.load(training)
    expect(panel(editor).get_by_role("status")).to_contain_text("“a hat”")
    expect(number(editor, "more_weights.tattoo")).to_have_value("0.50")
    expect(slider(editor, "face")).to_be_disabled()
    expect(number(editor, "face")).to_have_value("0.70")
    assert inputs(editor)["more_weights"] == text


def test_a_preset_that_was_saved_beside_other_weights_counts_and_rewrites_nothing(
    editor: "Editor", training: dict[str, Any]
):
    node_of(training, OBJECTIVE)["widgets_values"][1] = "person"
    editor.load(training)
    preview(editor)
    assert inputs(editor) == expected(preset="person")
    assert number(editor, "face").input_value() == "1.00"
    truth = true_weights(editor, dict(PRESETS["person"].weights), rest=0.15)
    assert np.abs(shown_weights(editor) - truth).max() <= 0.03
    drag(editor, "body", 0.5)
    assert inputs(editor) == expected(preset="custom", **{**weights_of("person"), "body_weight": 1})


@pytest.mark.parametrize(("enabled", "preset"), [(False, "custom"), (True, "style")])
def test_without_regions_the_whole_picture_looks_alike(
    editor: "Editor", training: dict[str, Any], enabled: bool, preset: str
):
    node_of(training, OBJECTIVE)["widgets_values"][:2] = [enabled, preset]
    editor.load(training)
    preview(editor)
    assert np.abs(shown_weights(editor) - 1).max() <= 0.03
    expect(panel(editor).get_by_role("status")).to_have_text("The whole picture is trained alike.")


def test_the_pointer_over_the_miniature_tells_region_and_weight_and_the_words_say_what_holds_the_rest(
    editor: "Editor", training: dict[str, Any]
):
    editor.load(training)
    status = panel(editor).get_by_role("status")
    expect(status).to_contain_text("held as the base model paints it")
    preview(editor)
    box = panel(editor).locator(".sf-heat").bounding_box()
    assert box
    side = min(box["width"], box["height"])  # the first picture is a square
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    face = middle[0], middle[1] + (110 / 320 - 0.5) * side
    editor.page.mouse.move(*face)
    expect(status).to_have_text("face: 1.40")
    panel(editor).locator("summary").click()
    prior = panel(editor).get_by_label("prior", exact=True)
    prior.fill("0")
    prior.press("Enter")
    editor.page.mouse.move(5, 5)
    expect(status).to_contain_text("may drift")
    assert inputs(editor) == expected(prior_weight=0)


def test_a_reload_and_a_copy_keep_the_values(editor: "Editor", training: dict[str, Any]):
    editor.load(training)
    drag(editor, "face", 0.25)
    kept = "() => Object.values(sessionStorage).some(value => value.includes('\"custom\",0.5,0.3'))"
    editor.page.wait_for_function(kept)
    editor.page.reload()
    number(editor, "face").wait_for()
    expect(number(editor, "face")).to_have_value("0.50")
    assert inputs(editor) == expected(face_weight=0.5)

    editor.page.evaluate("() => app.canvas.selectItems([app.graph.getNodeById(8)])")
    editor.page.evaluate("() => { app.canvas.copyToClipboard(); app.canvas.pasteFromClipboard(); }")
    editor.settle()
    copies = "() => app.graph.nodes.filter(n => n.type === 'SemanticFocusCosineLoss').map(n => n.id)"
    editor.page.wait_for_function(f"() => ({copies})().length === 2")
    new = next(node for node in editor.page.evaluate(copies) if node != OBJECTIVE)
    place = "id => app.graph.getNodeById(id).widgets.map(w => w.value).slice(0, 13)"
    assert editor.page.evaluate(place, new) == list(expected(face_weight=0.5).values())
    handles = editor.page.locator('.sf-weights [data-weight="face"] input.sf-number')
    expect(handles).to_have_count(2)
    handles.nth(1).fill("0.9")
    handles.nth(1).press("Enter")
    assert sorted([editor.widget(OBJECTIVE, "face_weight"), editor.widget(new, "face_weight")]) == [0.5, 0.9]


def test_in_a_subgraph_the_panel_works_and_finds_its_segmentation(editor: "Editor", training: dict[str, Any]):
    editor.load(training)
    holder = editor.page.evaluate(
        """ids => {
            const items = new Set(ids.map(id => app.graph.getNodeById(id)));
            return String(app.graph.convertToSubgraph(items).node.id);
        }""",
        [SEGMENT, OBJECTIVE],
    )
    editor.page.evaluate(
        "id => { const n = app.graph.getNodeById(id); app.canvas.openSubgraph(n.subgraph, n); }", holder
    )
    preview(editor)
    drag(editor, "face", 0.25)
    key = next(key for key, node in editor.prompt().items() if "Cosine" in node["class_type"])
    assert key.startswith(f"{holder}:")
    assert inputs(editor, key) == expected(face_weight=0.5)
    assert not editor.own_errors()


def test_the_segmentation_is_that_of_the_training_the_objective_reaches(
    editor: "Editor", training: dict[str, Any]
):
    find = lambda: editor.page.evaluate(WALK, OBJECTIVE)  # noqa: E731
    mode = "([id, mode]) => { app.graph.getNodeById(id).mode = mode; }"
    editor.load(training)
    assert find() == [str(SEGMENT)]
    # a refinement before the training, and another segmentation that no training uses
    refine, other, choose = editor.page.evaluate(
        """() => {
            const add = type => app.graph.add(LiteGraph.createNode(type));
            const [segment, fit, dataset] = [3, 4, 2].map(id => app.graph.getNodeById(id));
            const slot = (node, name) => node.inputs.findIndex(input => input.name === name);
            const [refine, other, choose] = ["Refine", "Segment", "SelectPersons"]
                .map(name => add(`SemanticFocus${name}`));
            const all = app.graph.nodes.slice(-3);
            dataset.connect(0, all[0], slot(all[0], "images"));
            dataset.connect(0, all[1], slot(all[1], "images"));
            segment.connect(0, all[0], slot(all[0], "masks"));
            all[0].connect(0, all[2], slot(all[2], "masks"));
            all[2].connect(0, fit, slot(fit, "masks"));
            return all.map(node => node.id);
        }"""
    )
    # Select Persons without pictures shows nothing
    assert find() == [str(refine), str(SEGMENT)]
    editor.page.evaluate(mode, [refine, 4])
    assert find() == [str(SEGMENT)]
    editor.page.evaluate(mode, [refine, 2])
    assert find() == []
    editor.page.evaluate(mode, [refine, 0])
    editor.page.evaluate(mode, [TRAIN, 2])
    assert find() == []  # two might be meant
    editor.page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", other)
    editor.page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", refine)
    assert find() == [str(SEGMENT)]
    assert choose


def test_without_a_segmentation_the_button_says_so(editor: "Editor", training: dict[str, Any]):
    editor.load(training)
    editor.page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", SEGMENT)
    panel(editor).get_by_role("button", name="Preview segmentation").click()
    expect(panel(editor).get_by_role("status")).to_contain_text("No segmentation leads to a training")


def test_a_workflow_that_an_earlier_version_saved_keeps_every_value(editor: "Editor"):
    saved = Path(__file__).parent / "saved"
    for file in sorted(saved.glob("train_person_lora_*[0-9].json")):
        editor.load(file)
        api = json.loads(file.with_suffix(".api.json").read_text(encoding="utf-8"))
        assert inputs(editor) == api[str(OBJECTIVE)]["inputs"]


def test_a_new_node_is_as_low_as_the_native_widgets_were_and_all_of_it_is_seen(
    editor: "Editor", training: dict[str, Any]
):
    node_of(training, OBJECTIVE).update(size=[260, 100])
    node_of(training, OBJECTIVE)["widgets_values"][-1] = ""
    editor.load(training)
    width, height = node_of(editor.workflow(), OBJECTIVE)["size"]
    assert (width, height) <= (260, 470)
    outside = """panel => {
        const frame = panel.getBoundingClientRect();
        return [...panel.querySelectorAll("button, input, select, summary, [role=status]")]
            .filter(part => part.checkVisibility())
            .map(part => [part.getBoundingClientRect(), part.outerHTML])
            .filter(([box]) => box.bottom > frame.bottom || box.right > frame.right || box.left < frame.left)
            .map(([, html]) => html);
    }"""
    assert panel(editor).evaluate(outside) == []


def test_the_panel_speaks_chinese(open_editor: "Callable[..., Editor]", training: dict[str, Any]):
    editor = open_editor({"Comfy.Locale": "zh"})
    editor.load(training)
    panel(editor).get_by_role("button", name="预览分割").wait_for()
    expect(row(editor, "face").locator(".sf-name")).to_have_text("人脸")
    expect(panel(editor).get_by_role("combobox")).to_have_text("自定义人物服装画风")
