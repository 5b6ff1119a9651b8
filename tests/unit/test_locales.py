"""What users read is there in both languages, and the same places are filled in."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from semantic_focus.categories import SEMANTIC_CATEGORIES

# the editor's translator takes these for syntax, or breaks at them
SYNTAX = re.compile(r"[@{}|]")
PLACE = re.compile(r"\{(\w+)\}")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SAME_IN_BOTH = {"VAE", "CFG", "alpha", "LoRA", "SNR gamma"}


def leaves(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Texts by dotted key."""
    found = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found.update(leaves(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, none of whose keys is written twice: the last would win without a word."""
    table = dict(pairs)
    assert len(table) == len(pairs), [key for key, _ in pairs]
    return table


@pytest.fixture
def texts(repo: Path) -> Any:
    """texts(language, file): what a file of locales holds, by dotted key."""

    def read(language: str, file: str) -> dict[str, str]:
        path = repo / "locales" / language / f"{file}.json"
        return leaves(json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=without_duplicates))

    return read


def panels(found: dict[str, str]) -> dict[str, str]:
    return {key: text for key, text in found.items() if key.startswith("semanticFocus.")}


def test_every_text_of_the_panels_is_there_in_both_languages_with_the_same_places(texts: Any):
    english, chinese = panels(texts("en", "main")), panels(texts("zh", "main"))
    assert set(english) == set(chinese)
    for key, text in english.items():
        assert set(PLACE.findall(text)) == set(PLACE.findall(chinese[key])), key


def test_regions_have_the_names_of_the_vocabulary(texts: Any):
    for name, category in SEMANTIC_CATEGORIES.items():
        assert texts("en", "main")[f"semanticFocus.regions.{name}"] == name
        assert texts("zh", "main")[f"semanticFocus.regions.{name}"] == category.name_zh


@pytest.mark.parametrize("file", ["settings", "commands"])
def test_every_setting_and_command_is_there_in_both_languages(texts: Any, file: str):
    english, chinese = texts("en", file), texts("zh", file)
    assert set(english) == set(chinese)
    assert all(CHINESE.search(text) for text in chinese.values())


@pytest.mark.parametrize("file", ["nodeDefs", "settings", "commands"])
def test_what_the_editor_translates_holds_none_of_its_syntax(texts: Any, file: str):
    assert not {key: text for key, text in texts("zh", file).items() if SYNTAX.search(text)}


def test_node_texts_are_chinese(texts: Any):
    other = {key: text for key, text in texts("zh", "nodeDefs").items() if not CHINESE.search(text)}
    assert set(other.values()) <= SAME_IN_BOTH


def test_no_text_is_empty(texts: Any):
    for language in ("en", "zh"):
        assert all(text.strip() for text in texts(language, "main").values())


def test_menu_entries_have_the_names_that_the_commands_have(texts: Any):
    labels, chinese = texts("en", "commands"), texts("zh", "commands")
    menu = texts("zh", "main")
    for key, label in labels.items():
        assert menu[f"menuLabels.{label}"] == chinese[key]


def test_the_pack_calls_itself_what_the_project_file_says(repo: Path):
    said = dict(re.findall(r'export const (\w+) = "(.*)";', (repo / "web/lib/pack.mjs").read_text("utf-8")))
    project = (repo / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{said["VERSION"]}"' in project
    assert f'Repository = "{said["REPOSITORY"]}"' in project


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_words_of_every_shared_workflow_are_there(repo: Path, language: str):
    """In English they are those of the file itself: by them the editor's script finds the others."""
    main = json.loads((repo / "locales" / language / "main.json").read_text("utf-8"))["semanticFocus"]
    for path in (repo / "workflows").glob("*.json"):
        workflow = json.loads(path.read_text("utf-8"))
        (note,) = (it["widgets_values"][0] for it in workflow["nodes"] if it["type"] == "MarkdownNote")
        titles = {it["title"] for it in [*workflow["nodes"], *workflow["groups"]] if it.get("title")}
        words = main["templates"][path.stem]
        assert words["title"] and words["description"]
        if language == "en":
            assert words["note"] == note
            assert titles <= set(main["templateTitles"].values())
        else:
            assert CHINESE.search(words["note"]) and CHINESE.search(words["title"])
            assert re.findall(r"^\d\. ", words["note"], re.MULTILINE) == re.findall(
                r"^\d\. ", note, re.MULTILINE
            )
