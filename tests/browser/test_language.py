"""Chinese: node titles, labels, tooltips, settings, menu and panels, in every editor that users have."""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from . import dataset_ui, training_ui, weights_ui
from .editor import CELLS, EACH_ONCE, cells

if TYPE_CHECKING:
    from .editor import Editor

SETTINGS = {"Comfy.Locale": "zh", "LiteGraph.Node.TooltipDelay": 10}
CANVAS = cells("canvas-pinned", "canvas-newer")
DATASET, SEGMENT = 2, 3
WORDS = """() => [...document.querySelectorAll(".sf-panel")].flatMap(panel => {
    const texts = [...panel.querySelectorAll("*")].filter(it => it.checkVisibility()).flatMap(it => [
        ...[...it.childNodes].filter(child => child.nodeType === Node.TEXT_NODE).map(child => child.data),
        ...["aria-label", "placeholder", "alt"].map(name => it.getAttribute(name) ?? ""),
    ]);
    return texts.flatMap(text => text.split("\\n")).map(text => [panel.dataset.widget, text.trim()]);
}).filter(([, text]) => text)"""
"""Everything that the shown panels say: [panel, text]."""
PANELS = {
    "semantic_focus_dataset",
    "semantic_focus_overlay",
    "semantic_focus_report",
    "semantic_focus_training",
    "semantic_focus_weights",
}

LABELS = """() => Object.fromEntries(app.graph.nodes.map(node => [node.type, {
    title: node.title,
    inputs: Object.fromEntries(node.inputs.map(slot => [slot.name, slot.localized_name])),
    outputs: node.outputs.map(slot => slot.localized_name),
    widgets: Object.fromEntries((node.widgets ?? []).map(({name, label}) => [name, label])),
}]))"""


@pytest.fixture(params=list(CELLS.values()), ids=list(CELLS))
def anywhere(show: Callable[..., "Editor"], request: pytest.FixtureRequest) -> "Editor":
    """As the shared one, in Chinese from the start."""
    vue, newer = request.param
    return show({**SETTINGS, "Comfy.VueNodes.Enabled": vue}, newer=newer)


@pytest.fixture
def chinese(repo: Path) -> dict[str, Any]:
    return json.loads((repo / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))


@pytest.fixture
def untranslated(repo: Path) -> Callable[[str], bool]:
    """Whether a text is an English one of ours that Chinese has other words for."""
    english, chinese = (
        dict(leaves(json.loads((repo / "locales" / language / "main.json").read_text(encoding="utf-8"))))
        for language in ("en", "zh")
    )
    patterns = []
    for key, text in english.items():
        parts = re.split(r"\{\w+\}", text)
        if chinese[key] != text and re.search("[a-z]{2}", "".join(parts)):
            patterns.append(".+".join(map(re.escape, parts)))
    return lambda text: any(re.fullmatch(pattern, text) for pattern in patterns)


def leaves(texts: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in texts.items():
        if isinstance(value, str):
            yield f"{path}{key}", value
        else:
            yield from leaves(value, f"{path}{key}.")


@EACH_ONCE
def test_nodes_inputs_outputs_and_panels_speak_chinese(
    anywhere: "Editor",
    workflow: dict[str, Any],
    dataset: Path,
    chinese: dict[str, Any],
    untranslated: Callable[[str], bool],
):
    editor = anywhere
    graph = copy.deepcopy(workflow)
    next(node for node in graph["nodes"] if node["id"] == DATASET)["widgets_values"][0] = str(dataset)
    # all of it in view; nodes drawn by Vue are there anyhow, and have no words when they are small
    graph["extra"] = {"ds": {"scale": 1 if editor.vue else 0.5, "offset": [20, 20]}}
    editor.load(graph)
    nodes = editor.page.evaluate(LABELS)
    ours = {name: found for name, found in nodes.items() if name in chinese}
    assert len(ours) >= 6
    for name, found in ours.items():
        texts = chinese[name]
        assert found["title"] == texts["display_name"]
        for slot, label in found["inputs"].items():
            assert label == texts["inputs"][slot]["name"], (name, slot)
        for widget, label in found["widgets"].items():
            if widget in texts["inputs"]:
                assert label == texts["inputs"][widget]["name"], (name, widget)
        assert found["outputs"] == [texts["outputs"][key]["name"] for key in texts["outputs"]]
    if editor.vue:
        node = editor.page.locator(f'[data-node-id="{SEGMENT}"]')
        node.get_by_text("SAM 语义分割", exact=True).wait_for()
        node.get_by_text("分割后端", exact=True).first.wait_for()

    editor.page.locator(".sf-dataset [role=option]").get_by_text("two.png").wait_for()
    face = editor.page.locator('[data-weight="face"] .sf-name')
    assert (
        face.get_attribute("title") == chinese["SemanticFocusCosineLoss"]["inputs"]["face_weight"]["tooltip"]
    )
    before = editor.page.evaluate(WORDS)
    editor.page.evaluate("id => app.queuePrompt(0, 1, [String(id)])", SEGMENT)
    editor.page.locator(".semantic-focus-overlay [data-region=face]").get_by_text("人脸").wait_for()
    said = [*before, *editor.page.evaluate(WORDS)]
    assert {panel for panel, _ in said} == PANELS
    assert untranslated("Preview segmentation") and untranslated("2 persons")
    assert [it for it in said if untranslated(it[1]) or "semanticFocus" in it[1]] == []
    assert editor.errors == []


@CANVAS
def test_tooltips_are_chinese(anywhere: "Editor", workflow: dict[str, Any], chinese: dict[str, Any]):
    editor = anywhere
    editor.load(workflow)
    editor.page.evaluate(
        """id => {
            const node = app.graph.getNodeById(id);
            app.canvas.ds.scale = 1;
            app.canvas.ds.offset = [200 - node.pos[0], 300 - node.pos[1]];
            app.canvas.draw(true, true);
        }""",
        SEGMENT,
    )
    editor.settle()
    where = editor.page.evaluate(
        """id => {
            const node = app.graph.getNodeById(id);
            const {scale, offset} = app.canvas.ds;
            const box = app.canvas.canvas.getBoundingClientRect();
            const widget = node.widgets.find(({name}) => name === "refine");
            const [x, y] = [node.pos[0] + node.size[0] / 2, node.pos[1] + widget.y + 10];
            return [box.left + (x + offset[0]) * scale, box.top + (y + offset[1]) * scale];
        }""",
        SEGMENT,
    )
    editor.page.mouse.move(where[0] - 5, where[1])
    editor.page.mouse.move(*where)
    tooltip = chinese["SemanticFocusSegment"]["inputs"]["refine"]["tooltip"]
    editor.page.get_by_text(tooltip).locator("visible=true").wait_for()


@CANVAS
def test_settings_and_menu_are_chinese(anywhere: "Editor"):
    editor = anywhere
    menu = editor.page.locator(".comfy-menu-button-wrapper, .comfyui-logo").locator("visible=true").first
    menu.click()
    editor.page.get_by_text("语义聚焦", exact=True).locator("visible=true").first.hover()
    for entry in ("预览分割", "停止训练并保存", "语义聚焦文档"):
        editor.page.get_by_text(entry, exact=True).locator("visible=true").first.wait_for()
    editor.page.keyboard.press("Escape")
    editor.page.keyboard.press("Escape")

    editor.command("SemanticFocus.Settings")
    dialog = editor.page.get_by_role("dialog").locator("visible=true").first
    for text in ("区域配色", "区域颜色", "自定义颜色：人脸", "权重滑条的步长", "标准"):
        dialog.get_by_text(text, exact=True).first.wait_for()
    assert editor.errors == []


@CANVAS
def test_another_language_is_spoken_as_soon_as_it_is_chosen(anywhere: "Editor", workflow: dict[str, Any]):
    editor = anywhere
    editor.load(workflow)
    speaks = """() => LiteGraph.createNode("SemanticFocusSegment")
        .widgets.find(({name}) => name === "backend").label === "分割后端" """
    for language, right in (("en", speaks.replace("===", "!==")), ("zh", speaks)):
        editor.page.evaluate("value => app.extensionManager.setting.set('Comfy.Locale', value)", language)
        editor.page.wait_for_function(right)
        editor.page.wait_for_function("() => !app.configuringGraph")


@CANVAS
def test_the_help_of_a_node_opens_with_its_picture(anywhere: "Editor", segmentation: dict[str, Any]):
    editor = anywhere
    segmentation["extra"]["ds"]["offset"] = [0, 200]  # the buttons of a node are above it
    for language, title in (("zh", "SAM 语义分割"), ("en", "SAM Semantic Segment")):
        editor.show(editor.server, {**editor.settings, "Comfy.Locale": language})
        editor.load(segmentation)
        editor.page.evaluate("id => app.canvas.selectItems([app.graph.getNodeById(id)])", SEGMENT)
        editor.page.get_by_test_id("info-button").click()
        page = editor.page.locator(".node-help-content").locator("visible=true")
        page.get_by_role("heading", name=title).first.wait_for()
        picture = page.locator("img").first
        expect(picture).to_have_attribute(
            "src", "/extensions/ComfyUI-SemanticFocus/docs/SemanticFocusSegment/node.webp"
        )
        picture.scroll_into_view_if_needed()
        is_loaded = "image => image.decode().then(() => image.naturalWidth > 100)"
        assert picture.evaluate(is_loaded)
        editor.spoil()  # the help stays open
    assert editor.errors == []


@cells("canvas-pinned")
def test_the_dataset_browser_speaks_chinese(anywhere: "Editor", folder: Path):
    editor = anywhere
    editor.load(dataset_ui.graph(folder))
    browser = dataset_ui.panel(editor)
    summary = browser.locator(".sf-dataset-summary")
    expect(summary).to_have_text("3 张图片 · 3 张没有遮罩 · 1 张需检查")
    expect(browser.get_by_role("button", name="生成遮罩（3）")).to_be_enabled()
    picture = dataset_ui.tile(editor, "drei 好.JPG")
    expect(picture).to_have_attribute("title", re.compile("没有遮罩文件\n没有标注"))
    assert not re.search(r"dataset\.", browser.inner_html())


@cells("canvas-pinned")
def test_the_weights_panel_speaks_chinese(anywhere: "Editor", weighted: dict[str, Any]):
    editor = anywhere
    editor.load(weighted)
    weights_ui.panel(editor).get_by_role("button", name="预览分割").wait_for()
    expect(weights_ui.row(editor, "face").locator(".sf-name")).to_have_text("人脸")
    expect(weights_ui.panel(editor).get_by_role("combobox")).to_have_text("自定义人物服装画风")


@cells("canvas-pinned")
def test_the_training_panel_speaks_chinese_in_both_themes(anywhere: "Editor", training: dict[str, Any]):
    editor = anywhere
    page = editor.page
    editor.load(training)
    expect(training_ui.panel(page)).to_contain_text("尚未训练")
    editor.press_run()
    training_ui.wait_for_state(page, "finished")
    expect(training_ui.panel(page)).to_contain_text("已完成")
    expect(training_ui.panel(page).locator("[data-curve=face]")).to_contain_text("人脸")
    table = training_ui.panel(page).get_by_role("button", name="区域")
    for theme in ("dark", "light"):
        editor.set("Comfy.ColorPalette", theme)
        assert editor.violations(".sf-training") == [], theme
        table.click()
        expect(training_ui.panel(page).locator("tbody tr").first).to_be_visible()
        assert editor.violations(".sf-training") == [], theme
        table.click()
    assert editor.errors == []
