"""What is written about nodes, beside their schemas: Chinese texts and help pages."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from host.serve import ComfyServer

STAND_IN = "SemanticFocusStandInCheckpoint"
DESCRIBED = re.compile(r"^- `(\w+)`", re.MULTILINE)


@pytest.fixture(scope="module")
def schemas(server: "ComfyServer") -> dict[str, dict[str, Any]]:
    """Of all nodes of the pack."""
    nodes = server.object_info()
    return {name: it for name, it in nodes.items() if name.startswith("SemanticFocus") and name != STAND_IN}


def inputs(schema: dict[str, Any]) -> dict[str, str | None]:
    """Tooltips by name."""
    kinds = (schema["input"].get(kind, {}) for kind in ("required", "optional"))
    return {
        name: (spec[1] if len(spec) > 1 else {}).get("tooltip")
        for kind in kinds
        for name, spec in kind.items()
    }


def test_every_node_input_and_output_has_its_chinese_text_and_nothing_else_has(
    schemas: dict[str, dict[str, Any]], repo: Path
):
    chinese = json.loads((repo / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(chinese) == set(schemas)
    for node, schema in schemas.items():
        texts = chinese[node]
        assert texts["display_name"] and texts["description"], node
        assert set(texts["inputs"]) == set(inputs(schema)), node
        for name, tooltip in inputs(schema).items():
            assert set(texts["inputs"][name]) == ({"name", "tooltip"} if tooltip else {"name"}), (node, name)
        tooltips = schema["output_tooltips"] or [None] * len(schema["output"])
        assert list(texts["outputs"]) == [str(index) for index in range(len(schema["output"]))], node
        for index, tooltip in enumerate(tooltips):
            wanted = {"name", "tooltip"} if tooltip else {"name"}
            assert set(texts["outputs"][str(index)]) == wanted, (node, index)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_pages_describe_inputs_and_outputs_that_the_nodes_have(
    schemas: dict[str, dict[str, Any]], repo: Path, language: str
):
    for node, schema in schemas.items():
        text = (repo / "web" / "docs" / node / f"{language}.md").read_text(encoding="utf-8")
        _, first, second, *_ = text.split("\n## ")
        assert set(DESCRIBED.findall(first)) <= set(inputs(schema)), node
        assert DESCRIBED.findall(second) == schema["output_name"], node
        if language == "en":
            assert text.startswith(f"# {schema['display_name']}\n")
