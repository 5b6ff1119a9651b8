"""Chinese: node titles, labels, tooltips, settings, menu and panels, in every editor that users have."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Editor

EVERYWHERE = pytest.mark.parametrize(
    ("vue", "newer"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["canvas-pinned", "vue-pinned", "canvas-newer", "vue-newer"],
)
BOTH = pytest.mark.parametrize("newer", [False, True], ids=["pinned", "newer"])
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SEGMENT = 3

LABELS = """() => Object.fromEntries(app.graph.nodes.map(node => [node.type, {
    title: node.title,
    inputs: Object.fromEntries(node.inputs.map(slot => [slot.name, slot.localized_name])),
    outputs: node.outputs.map(slot => slot.localized_name),
    widgets: Object.fromEntries((node.widgets ?? []).map(({name, label}) => [name, label])),
}]))"""


@pytest.fixture
def chinese(repo: Path) -> dict[str, Any]:
    return json.loads((repo / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))


@EVERYWHERE
def test_nodes_inputs_outputs_and_panels_speak_chinese(
    open_editor: "Callable[..., Editor]",
    workflow: dict[str, Any],
    chinese: dict[str, Any],
    vue: bool,
    newer: bool,
):
    editor = open_editor({"Comfy.Locale": "zh", "Comfy.VueNodes.Enabled": vue}, newer=newer)
    editor.load(workflow)
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
    if vue:
        node = editor.page.locator(f'[data-node-id="{SEGMENT}"]')
        node.get_by_text("SAM 语义分割", exact=True).wait_for()
        node.get_by_text("分割后端", exact=True).first.wait_for()
    panels = editor.page.locator(".sf-panel").locator("visible=true")
    assert panels.count() >= 3
    for text in panels.all_inner_texts():
        assert CHINESE.search(text), text
        assert "semanticFocus" not in text
    assert editor.errors == []


@BOTH
def test_tooltips_are_chinese(
    open_editor: "Callable[..., Editor]", workflow: dict[str, Any], chinese: dict[str, Any], newer: bool
):
    editor = open_editor({"Comfy.Locale": "zh", "LiteGraph.Node.TooltipDelay": 10}, newer=newer)
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


@BOTH
def test_settings_and_menu_are_chinese(open_editor: "Callable[..., Editor]", newer: bool):
    editor = open_editor({"Comfy.Locale": "zh"}, newer=newer)
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


@BOTH
def test_another_language_is_spoken_as_soon_as_it_is_chosen(
    open_editor: "Callable[..., Editor]", workflow: dict[str, Any], newer: bool
):
    editor = open_editor(newer=newer)
    editor.load(workflow)
    editor.page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'zh')")
    speaks = """() => LiteGraph.createNode("SemanticFocusSegment")
        .widgets.find(({name}) => name === "backend").label === "分割后端" """
    editor.page.wait_for_function(speaks)
    editor.page.wait_for_function("() => !app.configuringGraph")
    editor.page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'en')")
    editor.page.wait_for_function(speaks.replace("===", "!=="))
