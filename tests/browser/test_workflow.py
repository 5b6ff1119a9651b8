"""The shared workflows in the graph editor: they open, are what their API files say, and train a LoRA."""

import json
import re
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from semantic_focus.categories import PRESETS

from .editor import EACH_ONCE, LIMIT

if TYPE_CHECKING:
    from .editor import Editor

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
SAVED = sorted(
    path for path in (Path(__file__).parent / "saved").glob("*.json") if not path.match("*.api.json")
)
"""Workflows as older versions saved them; beside each the prompt that it gave then."""

CHECKPOINT, DATASET, FIT, TRAIN, REPORT, EMPTY, SAMPLE, SHOW = 1, 2, 4, 9, 11, 15, 16, 18
SEED = 8
"""Place of the seed among the values of the training node."""
THUMBNAIL_BYTES = 60_000
NEWER_INPUTS = {"LoraModelLoader": {"bypass"}}
"""By class of node: inputs that only newer ComfyUIs have."""

UNKNOWN_NODES = """() => {
    const types = app.graph.nodes.map(node => node.type);
    return types.filter(type => !(type in LiteGraph.registered_node_types));
}"""
BOXES = """async vue => {
    const {scale, offset} = app.canvas.ds;
    const seen = node => {
        const element = document.querySelector(`[data-node-id="${node.id}"]`);
        const {left, top, width, height} = element.getBoundingClientRect();
        const frame = app.canvas.canvas.getBoundingClientRect();
        const [x, y] = [left - frame.left, top - frame.top];
        return [x / scale - offset[0], y / scale - offset[1], width / scale, height / scale];
    };
    const frame = () => new Promise(requestAnimationFrame);
    const boxes = () => app.graph.nodes.map(n => [n.title, ...(vue ? seen(n) : n.boundingRect)]);
    let [before, now] = [null, boxes()];
    while (JSON.stringify(before) !== JSON.stringify(now)) {
        for (let frames = 0; frames < 5; frames++) await frame();
        [before, now] = [now, boxes()];
    }
    return {nodes: now, groups: app.graph.groups.map(group => [group.title, ...group._bounding])};
}"""
"""Title, x, y, width and height in the graph, as they are drawn once nothing moves any more."""

Box = tuple[str, float, float, float, float]


def overlapping(boxes: list[Box]) -> list[tuple[str, str]]:
    """Titles of the pairs that are not apart."""
    return [
        (one[0], other[0])
        for place, one in enumerate(boxes)
        for other in boxes[place + 1 :]
        if one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
        and one[2] < other[2] + other[4]
        and other[2] < one[2] + one[4]
    ]


def is_inside(box: Box, frame: Box) -> bool:
    return (
        frame[1] <= box[1]
        and box[1] + box[3] <= frame[1] + frame[3]
        and frame[2] <= box[2]
        and box[2] + box[4] <= frame[2] + frame[4]
    )


def layout_problems(editor: "Editor") -> list[Any]:
    """Nodes that cover each other or stick out of their group, groups that cover each other."""
    drawn = editor.page.evaluate(BOXES, editor.vue)
    outside = [box for box in drawn["nodes"] if not any(is_inside(box, group) for group in drawn["groups"])]
    return [*overlapping(drawn["nodes"]), *overlapping(drawn["groups"]), *outside]


def assert_laid_out_well(editor: "Editor", name: str) -> None:
    """Nodes grow while what they show comes, so it may take a while."""
    deadline = time.monotonic() + LIMIT
    while (problems := layout_problems(editor)) and time.monotonic() < deadline:
        editor.settle()
    assert problems == [], name


def api_prompt(path: Path) -> dict[str, Any]:
    return without_titles(json.loads(path.read_text(encoding="utf-8")))


def without_titles(prompt: dict[str, Any]) -> dict[str, Any]:
    """Class and inputs of every node; the host tier looks at inputs that not every ComfyUI has."""
    nodes = {}
    for key, it in prompt.items():
        newer = NEWER_INPUTS.get(it["class_type"], set())
        inputs = {name: value for name, value in it["inputs"].items() if name not in newer}
        nodes[key] = {"class_type": it["class_type"], "inputs": inputs}
    return nodes


def with_new_inputs(then: dict[str, Any], sent: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """An older version's prompt with the inputs that our nodes have had since, each as its default."""
    for key, it in then.items():
        if "SemanticFocus" in it["class_type"]:
            groups = known[it["class_type"]]["input"]
            options = {**groups.get("required", {}), **groups.get("optional", {})}
            since = sent[key]["inputs"].keys() - it["inputs"].keys()
            it["inputs"] |= {name: options[name][1]["default"] for name in since}
    return then


def with_typed_weights(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt with custom weights in place of a preset: whoever edits an API file edits weights."""
    for it in prompt.values():
        if it["class_type"] == "SemanticFocusCosineLoss":
            preset = PRESETS.get(it["inputs"]["preset"])
            enabled = it["inputs"]["enabled"] and (preset is None or preset.enabled)
            it["inputs"] |= {"preset": "custom", "enabled": enabled}
    return prompt


def test_every_workflow_opens_everywhere_and_is_what_its_api_file_says(anywhere: "Editor"):
    for path in WORKFLOWS:
        anywhere.load(path)
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        assert len(anywhere.workflow()["nodes"]) == len(nodes), path.stem
        shown = anywhere.page.locator("[data-node-id]").count()
        assert shown == (len(nodes) if anywhere.vue else 0), path.stem
        assert anywhere.page.evaluate(UNKNOWN_NODES) == [], path.stem
        sent = with_typed_weights(without_titles(anywhere.prompt()))
        assert sent == api_prompt(path.parent / "api" / path.name), path.stem
        assert_laid_out_well(anywhere, path.stem)
    assert anywhere.errors == []


@EACH_ONCE
def test_what_older_versions_saved_opens_everywhere_with_every_value(anywhere: "Editor"):
    for path in SAVED:
        anywhere.load(path)
        was = {node["id"]: node for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]}
        now = {node["id"]: node for node in anywhere.workflow()["nodes"]}
        assert now.keys() == was.keys(), path.stem
        for key, node in was.items():
            values = now[key].get("widgets_values") or []
            assert values[: len(node["widgets_values"])] == node["widgets_values"], (path.stem, key)

        sent, then = without_titles(anywhere.prompt()), api_prompt(path.with_suffix(".api.json"))
        assert sent == with_new_inputs(then, sent, anywhere.server.object_info()), path.stem
    assert anywhere.errors == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_workflow_explains_itself_and_has_a_thumbnail(path: Path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    notes = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    assert len(notes) == 1
    assert re.findall(r"^(\d)\. ", notes[0], re.MULTILINE) == ["1", "2", "3", "4"]
    # rows of groups, each read from the left
    groups = sorted(workflow["groups"], key=lambda group: (group["bounding"][1], group["bounding"][0]))
    assert [group["title"][:3] for group in groups] == [f"{number + 1}  " for number in range(len(groups))]
    thumbnail = path.with_suffix(".jpg")
    assert thumbnail.stat().st_size < THUMBNAIL_BYTES
    with Image.open(thumbnail) as picture:
        assert picture.format == "JPEG"
        assert min(picture.size) >= 300


@EACH_ONCE
def test_a_template_opened_twice_is_two_workflows(anywhere: "Editor"):
    """Pictures and curves are kept by the id of the workflow: a template with one would share them."""
    opened = []
    for _ in range(2):
        anywhere.load(WORKFLOWS[0])
        opened.append(anywhere.page.evaluate("() => [app.graph.id, app.graph.serialize().id]"))
    (first, saved_first), (second, saved_second) = opened
    assert first == saved_first and second == saved_second
    assert first != second
    for path in WORKFLOWS:
        assert "id" not in json.loads(path.read_text(encoding="utf-8")), path.stem


def test_the_template_browser_is_given_every_workflow(editor: "Editor", server: Any, comfy: ModuleType):
    templates = editor.page.request.get(f"{server.url}/api/workflow_templates").json()
    assert sorted(templates[comfy.PACK]) == [path.stem for path in WORKFLOWS]
    for path in WORKFLOWS:
        served = f"{server.url}/api/workflow_templates/{comfy.PACK}/{path.stem}"
        assert editor.page.request.get(f"{served}.jpg").body() == path.with_suffix(".jpg").read_bytes()


@EACH_ONCE
def test_the_gallery_describes_them_and_they_open_in_the_users_words_at_a_zoom_to_read(
    anywhere: "Editor", comfy: ModuleType
):
    editor = anywhere
    editor.set("Comfy.Locale", "zh")
    editor.page.evaluate("() => void app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    editor.page.get_by_text(comfy.PACK, exact=True).locator("visible=true").first.click()
    titles = json.loads((WORKFLOWS[0].parents[1] / "locales/zh/main.json").read_text("utf-8"))
    texts = titles["semanticFocus"]["templates"]
    cards = [editor.page.get_by_text(it["title"], exact=True) for it in texts.values()]
    tops = []
    for name, card in zip(texts, cards, strict=True):
        if any(path.stem == name for path in WORKFLOWS):
            card.scroll_into_view_if_needed()
            tops.append(card.evaluate("card => [card.getBoundingClientRect()].map(({left}) => left)[0]"))
    assert len(tops) == len(WORKFLOWS) and tops[0] < tops[1] < tops[2]
    cards[list(texts).index("train_person_lora")].click()
    editor.page.wait_for_function("() => app.graph.groups.length")
    groups = editor.page.evaluate("() => app.graph.groups.map(group => group.title)")
    assert groups[0] == "1  模型和图片"
    notes = "() => app.graph.nodes.find(({type}) => type === 'MarkdownNote').widgets[0].value"
    assert editor.page.evaluate(notes) == texts["train_person_lora"]["note"]
    editor.page.wait_for_function("() => app.canvas.ds.scale >= 0.9")
    saved = editor.workflow()
    editor.set("Comfy.Locale", "en")
    editor.load(saved)
    assert editor.page.evaluate("() => app.graph.groups[0].title") == "1  Model and pictures"
    assert editor.own_errors() == []


def test_run_trains_and_shows_regions_curves_and_a_picture_and_a_second_run_keeps_the_first_lora(
    editor: "Editor", workflow: dict[str, Any], dataset: Path, stand_in_model: Path, server: Any
):
    kept = server.base_directory / "output" / "loras"
    of_others = set(kept.glob("my_person_*"))
    trained = small(workflow, dataset, stand_in_model)
    trained["extra"]["ds"] = {"scale": 0.3, "offset": [100, 100]}  # what is drawn takes its pictures
    editor.load(trained)
    editor.run()
    regions = editor.page.locator(".semantic-focus-overlay")
    regions.get_by_text("1/2 · 1 person").wait_for()
    for region in ("face", "hair", "clothing"):
        label = regions.locator(f"[data-region={region}]").inner_text()
        share = re.match(rf"{region} ([\d.]+)%", label)
        assert share and float(share[1]) > 0
    assert sorted(path.name for path in dataset.glob("*.safetensors")) == [
        "one_zi_masks.safetensors",
        "two_zi_masks.safetensors",
    ]
    for node in (REPORT, SHOW):
        editor.page.wait_for_function("id => app.graph.getNodeById(id).imgs?.length", arg=node)

    widgets(trained, TRAIN)[SEED] += 1
    editor.load(trained)
    editor.run()
    loras = set(kept.glob("my_person_*")) - of_others
    assert len(loras) == len({lora.read_bytes() for lora in loras}) == 2
    assert editor.errors == []


def widgets(workflow: dict[str, Any], node: int) -> list[Any]:
    """The values of a node's widgets, to be changed."""
    return next(it for it in workflow["nodes"] if it["id"] == node)["widgets_values"]


def small(workflow: dict[str, Any], dataset: Path, model: Path) -> dict[str, Any]:
    """The workflow on `dataset`, with the stand-in for Load Checkpoint and sizes that run in seconds."""
    checkpoint = next(it for it in workflow["nodes"] if it["id"] == CHECKPOINT)
    checkpoint.update(type="SemanticFocusStandInCheckpoint", inputs=[], widgets_values=[model.name])
    widgets(workflow, DATASET)[0] = str(dataset)
    widgets(workflow, FIT)[:] = [128, 16, ""]
    widgets(workflow, TRAIN)[:6] = [3, 1, 1e-3, "cosine", 4, 4.0]
    widgets(workflow, EMPTY)[:] = [128, 128, 1]
    widgets(workflow, SAMPLE)[2:4] = [2, 1.0]
    return workflow
