"""A help page for every node, in English and Chinese, with pictures that are there."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

LANGUAGES = ("en", "zh")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)]*)\)")
BOLD = re.compile(r"\*\*([^*]+)\*\*")
QUOTED = re.compile("“([^”]+)”")
MOST_BYTES = 1_500_000
REPOSITORY = "https://github.com/ComfyUI-SemanticFocus/ComfyUI-SemanticFocus/blob/main/"


@pytest.fixture
def pages(repo: Path) -> dict[tuple[str, str], str]:
    """Markdown by (node, language)."""
    files = (repo / "web" / "docs").glob("*/*.md")
    return {(file.parent.name, file.stem): file.read_text(encoding="utf-8") for file in files}


@pytest.fixture
def chinese(repo: Path) -> dict[str, dict]:
    """The Chinese texts of all nodes; a test on a server compares them with the schemas."""
    return json.loads((repo / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))


def test_every_node_has_a_page_in_both_languages(pages: dict, chinese: dict):
    assert set(pages) == {(node, language) for node in chinese for language in LANGUAGES}


def test_a_page_says_what_the_node_is_for_how_to_use_it_and_what_may_go_wrong(pages: dict):
    for page, text in pages.items():
        assert 15 <= len(text.splitlines()) <= 60, page
        assert re.findall("^# .+", text, re.MULTILINE), page
        assert len(re.findall("^## .+", text, re.MULTILINE)) == 4, page


def test_both_languages_describe_the_same_inputs_and_outputs(pages: dict):
    for node, language in pages:
        if language == "en":
            described = [re.findall(r"^- `(\w+)`", pages[node, each], re.MULTILINE) for each in LANGUAGES]
            assert set(described[0]) == set(described[1]), node


def test_every_picture_of_a_page_is_there_and_described(pages: dict, repo: Path):
    for page, text in pages.items():
        pictures = PICTURE.findall(text)
        assert pictures, page
        for description, path in pictures:
            assert description.strip(), page
            # ComfyUI resolves them from the folder docs, not from the page's
            with Image.open(repo / "web" / "docs" / path) as picture:
                assert min(picture.size) > 50, path


def test_all_pictures_together_are_small(repo: Path):
    assert sum(file.stat().st_size for file in (repo / "web" / "docs").glob("*/*.webp")) < MOST_BYTES


def test_pages_link_to_this_repository_alone(pages: dict):
    for page, text in pages.items():
        assert all(link.startswith(REPOSITORY) for link in LINK.findall(text)), page


def test_templates_that_pages_name_are_there(pages: dict, repo: Path):
    templates = {file.stem for file in (repo / "workflows").glob("*.json")}
    for page, text in pages.items():
        named = re.findall(r"(?:templates?|模板) \*(\w+)\*", text)
        assert set(named) <= templates, page


def test_messages_that_pages_quote_are_those_of_the_program(pages: dict, repo: Path):
    sources = [*(repo / "semantic_focus").rglob("*.py"), *(repo / "nodes").glob("*.py")]
    said = "\n".join(file.read_text(encoding="utf-8") for file in sources)
    said = re.sub(r'"\s*\n\s*f?"', "", said)  # sentences over several lines
    said += (repo / "locales" / "en" / "main.json").read_text(encoding="utf-8")
    quoted = 0
    for page, text in pages.items():
        for message in re.findall(r"^- \*([^*]+)\*", text, re.MULTILINE):
            for fragment in filter(None, (part.strip(" :,.'") for part in message.split("…"))):
                assert fragment in said, (page, fragment)
                quoted += 1
    assert quoted > len(pages)
