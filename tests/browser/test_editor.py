"""The graph editor opens with the pack installed, in every editor and renderer that ComfyUI's users have."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Editor

EMPTY_IMAGE = {
    "version": 0.4,
    "last_node_id": 7,
    "last_link_id": 0,
    "nodes": [
        {
            "id": 7,
            "type": "EmptyImage",
            "pos": [100, 100],
            "size": [270, 130],
            "flags": {},
            "order": 0,
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": None}],
            "properties": {},
            "widgets_values": [640, 480, 2, 255],
        }
    ],
    "links": [],
    "groups": [],
    "config": {},
    "extra": {},
}


@pytest.mark.parametrize("newer", [False, True], ids=["pinned", "newer"])
@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_a_loaded_workflow_is_what_the_editor_would_run(
    open_editor: "Callable[..., Editor]", vue: bool, newer: bool
):
    editor = open_editor({"Comfy.VueNodes.Enabled": vue}, newer=newer)
    editor.load(EMPTY_IMAGE)
    assert [node["id"] for node in editor.workflow()["nodes"]] == [7]
    inputs = {"width": 640, "height": 480, "batch_size": 2, "color": 255}
    assert editor.prompt()["7"]["inputs"] == inputs
    assert editor.page.locator("[data-node-id='7']").count() == int(vue)
    assert editor.errors == []
