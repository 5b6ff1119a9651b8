"""What the library says of files and folders has words in the panels' languages, see web/lib/faults.mjs."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SAYING = (
    "datasets/mask_file.py",
    "datasets/mask_tensors.py",
    "datasets/answers.py",
    "datasets/ownership.py",
    "datasets/folder.py",
    "datasets/formats.py",
    "datasets/status.py",
    "datasets/cache.py",
    "datasets/caption_editing.py",
    "files/writing.py",
    "files/names.py",
    "files/tensors.py",
    "files/text.py",
    "training/watching.py",
)
"""Files of the library whose errors end up in a panel."""
PLACE = re.compile(r"\{(\w+)\}")


def sentences(source: Path) -> Iterator[str]:
    """What the errors of a file say, with a number in place of each value."""
    for call in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call) or not getattr(call.func, "id", "").endswith("Error"):
            continue
        for said in call.args:
            if isinstance(said, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "«9»" for part in said.values]
                sentence = "".join(map(str, parts))
                if sentence not in ("«9»", "«9»: «9»"):  # what another error says
                    yield sentence
            elif isinstance(said, ast.Constant) and isinstance(said.value, str):
                yield said.value


def pattern_of(template: str) -> re.Pattern[str]:
    parts = PLACE.split(template)[::2]
    return re.compile("(.+?)".join(map(re.escape, parts)), re.DOTALL)


@pytest.fixture(scope="module")
def faults(repo: Path) -> dict[str, dict[str, str]]:
    """The texts by language and key."""
    files = {language: repo / "locales" / language / "main.json" for language in ("en", "zh")}
    texts = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    return {language: text["semanticFocus"]["faults"] for language, text in texts.items()}


def test_every_language_has_every_text_and_its_values(faults: dict[str, dict[str, str]]):
    assert faults["en"].keys() == faults["zh"].keys()
    for key, english in faults["en"].items():
        assert set(PLACE.findall(english)) == set(PLACE.findall(faults["zh"][key])), key
        assert re.search("[\u4e00-\u9fff]", faults["zh"][key]), key


@pytest.mark.parametrize("file", SAYING)
def test_every_sentence_of_the_library_has_a_text(repo: Path, faults: dict[str, dict[str, str]], file: str):
    patterns = [pattern_of(template) for template in faults["en"].values()]
    # the panels take the name of a file from before what they know
    said = [it.removeprefix("«9»: ") for it in sentences(repo / "semantic_focus" / file)]
    assert said
    assert [it for it in said if not any(pattern.fullmatch(it) for pattern in patterns)] == []
