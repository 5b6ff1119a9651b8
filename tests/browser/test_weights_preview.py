"""The miniature of the weights panel, and which segmentation it shows."""

from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import expect

from semantic_focus.categories import PRESETS

from .weights_ui import (
    OBJECTIVE,
    SEGMENT,
    TRAIN,
    drag,
    expected,
    inputs,
    node_of,
    number,
    panel,
    preview,
    shown_weights,
    true_weights,
    weights_of,
)

if TYPE_CHECKING:
    from .editor import Editor

WALK = """async id => {
    const {overlaysFor} = await import("/extensions/ComfyUI-SemanticFocus/lib/graph_walk.mjs");
    return overlaysFor(app.graph.getNodeById(id)).map(found => found.id);
}"""


def test_a_preset_that_was_saved_beside_other_weights_counts_and_rewrites_nothing(
    editor: "Editor", weighted: dict[str, Any]
):
    editor = editor
    node_of(weighted, OBJECTIVE)["widgets_values"][1] = "person"
    editor.load(weighted)
    preview(editor)
    assert inputs(editor) == expected(preset="person")
    assert number(editor, "face").input_value() == "1.00"
    truth = true_weights(editor, dict(PRESETS["person"].weights), rest=0.15)
    assert np.abs(shown_weights(editor) - truth).max() <= 0.03
    drag(editor, "body", 0.5)
    assert inputs(editor) == expected(preset="custom", **{**weights_of("person"), "body_weight": 1})


def test_without_regions_the_whole_picture_looks_alike(editor: "Editor", weighted: dict[str, Any]):
    editor = editor
    for enabled, preset in ((False, "custom"), (True, "style")):
        node_of(weighted, OBJECTIVE)["widgets_values"][:2] = [enabled, preset]
        editor.load(weighted)
        preview(editor)
        assert np.abs(shown_weights(editor) - 1).max() <= 0.03, (enabled, preset)
        expect(panel(editor).locator(".sf-said")).to_have_text("The whole picture is trained alike.")


def test_the_pointer_over_the_miniature_tells_region_and_weight_and_the_words_say_what_holds_the_rest(
    editor: "Editor", weighted: dict[str, Any]
):
    editor = editor
    editor.load(weighted)
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


def test_in_a_subgraph_the_panel_works_and_finds_its_segmentation(editor: "Editor", weighted: dict[str, Any]):
    editor = editor
    editor.load(weighted)
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
    editor: "Editor", weighted: dict[str, Any]
):
    editor = editor
    find = lambda: editor.page.evaluate(WALK, OBJECTIVE)  # noqa: E731
    mode = "([id, mode]) => { app.graph.getNodeById(id).mode = mode; }"
    editor.load(weighted)
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


def test_the_panel_waits_for_its_own_run_and_no_longer_when_that_is_taken_out_of_the_queue(
    editor: "Editor", weighted: dict[str, Any]
):
    editor = editor
    editor.load(weighted)
    # the server answers for a queue in which the run waits behind another
    waiting: dict[str, list[Any]] = {"queue_running": [], "queue_pending": []}
    editor.page.route("**/api/queue", lambda route: route.fulfill(json=waiting))
    editor.page.route("**/api/prompt", lambda route: route.fulfill(json={"prompt_id": "own", "number": 7}))
    client = editor.page.evaluate("() => window.comfyAPI.api.api.clientId")
    waiting["queue_pending"].append([7, "own", {}, {"client_id": client}, [str(SEGMENT)]])
    waiting["queue_running"].append([6, "other", {}, {"client_id": client}, [str(TRAIN)]])
    panel(editor).get_by_role("button", name="Preview segmentation").click()
    said = panel(editor).get_by_role("status")
    expect(said).to_contain_text("Segmenting")
    waiting["queue_running"].clear()
    tell = """name => {
        const status = {exec_info: {queue_remaining: 1}};
        window.comfyAPI.api.api.dispatchCustomEvent("execution_success", {prompt_id: "other"});
        window.comfyAPI.api.api.dispatchCustomEvent("status", status);
    }"""
    with editor.page.expect_response("**/api/queue"):
        editor.page.evaluate(tell)
    editor.settle()
    expect(said).to_contain_text("Segmenting")
    waiting["queue_pending"].clear()
    editor.page.evaluate(tell)
    expect(said).not_to_contain_text("Segmenting")
    editor.page.unroute("**/api/queue")
    editor.page.unroute("**/api/prompt")


def test_without_a_segmentation_the_button_says_so(editor: "Editor", weighted: dict[str, Any]):
    editor = editor
    editor.load(weighted)
    editor.page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", SEGMENT)
    panel(editor).get_by_role("button", name="Preview segmentation").click()
    expect(panel(editor).get_by_role("status")).to_contain_text("No segmentation leads to a training")
