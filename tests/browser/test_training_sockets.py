"""LoRA Train Step shows the sockets that most trainings use; others come by a click, or with a workflow."""

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from .training_ui import panel
from .weights_ui import TRAIN, node_of

if TYPE_CHECKING:
    from .editor import Editor

ALWAYS = ["model", "latents", "conditioning", "latent_masks", "objective", "options", "preview"]
RARE = ["adapter", "timestep_options", "train_state", "start_from", "training_adapter", "empty_prompt"]
RARE += ["repeats", "scenes"]

SOCKETS = "id => app.graph.getNodeById(id).inputs.filter(input => !input.widget).map(input => input.name)"
ADD = """([type, from]) => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    const train = app.graph.getNodeById(from);
    if (train) node.connect(0, train, train.findInputSlot("adapter"));
    return node.id;
}"""


def linked(editor: "Editor") -> dict[str, Any]:
    """The links of the training node, as Run would send them."""
    inputs = editor.prompt()[str(TRAIN)]["inputs"]
    return {name: value for name, value in inputs.items() if isinstance(value, list)}


def sockets(editor: "Editor", node: int = TRAIN) -> list[str]:
    return editor.page.evaluate(SOCKETS, node)


def test_rare_sockets_are_folded_shown_by_a_click_and_stay_while_they_are_connected(
    anywhere: "Editor", workflow: dict[str, Any]
):
    editor = anywhere
    left, top = node_of(workflow, TRAIN)["pos"]
    workflow["extra"] = {"ds": {"scale": 0.7, "offset": [300 - left, 100 - top]}}
    editor.load(workflow)
    before = linked(editor)
    assert sockets(editor) == ALWAYS
    assert sockets(editor, editor.page.evaluate(ADD, ["SemanticFocusTrain", 0])) == ALWAYS

    editor.load(workflow)
    fold = panel(editor.page).get_by_role("button", name="Sockets that are rarely used")
    expect(fold).to_have_attribute("aria-pressed", "false")
    fold.click()
    expect(fold).to_have_attribute("aria-pressed", "true")
    assert sockets(editor) == ALWAYS + RARE
    adapter = editor.page.evaluate(ADD, ["SemanticFocusAdapterOptions", TRAIN])
    fold.click()
    assert sockets(editor) == [*ALWAYS, "adapter"]
    assert linked(editor) == {**before, "adapter": [str(adapter), 0]}
    editor.load(editor.workflow())
    assert sockets(editor) == [*ALWAYS, "adapter"]
    assert linked(editor) == {**before, "adapter": [str(adapter), 0]}
    assert editor.errors == []


def test_a_workflow_that_was_saved_with_all_sockets_keeps_them_and_their_links(
    anywhere: "Editor", repo: Path
):
    editor = anywhere
    saved = json.loads((repo / "workflows" / "resume_and_compare.json").read_text(encoding="utf-8"))
    editor.load(saved)
    expected = linked(editor)
    assert sockets(editor) == [*ALWAYS, "train_state"] and expected["train_state"] == ["12", 0]
    editor.load(as_before(saved))
    assert sorted(sockets(editor)) == sorted(ALWAYS + RARE[:-1])
    assert linked(editor) == expected
    assert editor.errors == []


def as_before(graph: dict[str, Any]) -> dict[str, Any]:
    """The graph as version 0.2 saved it: every socket there was then, in the order of that time."""
    graph = copy.deepcopy(graph)
    inputs = node_of(graph, TRAIN)["inputs"]
    found = {socket["name"]: socket for socket in inputs}
    order = [*ALWAYS[:5], "adapter", "timestep_options", "options", "preview", *RARE[2:-1]]
    kinds = {"start_from": "LORA_MODEL", "training_adapter": "LORA_MODEL", "empty_prompt": "CONDITIONING"}
    kinds |= {"adapter": "SEMANTIC_ADAPTER", "timestep_options": "SEMANTIC_TIMESTEPS", "repeats": "INT"}
    first = [
        found.get(name) or {"name": name, "type": kinds[name], "link": None, "shape": 7} for name in order
    ]
    inputs[:] = first + [socket for socket in inputs if "widget" in socket]
    places = {socket["link"]: place for place, socket in enumerate(inputs) if socket["link"]}
    for link in graph["links"]:
        if link[3] == TRAIN:
            link[4] = places[link[0]]
    return graph
