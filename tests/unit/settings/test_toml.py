"""Hostile lines of a TOML file: each is answered at once, in words, with file and line.

The sizes are such that anything slower than in proportion to them would not end while somebody waits.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from semantic_focus.settings.objective import load_objective
from semantic_focus.settings.toml import DEEPEST, MOST_BYTES, ConfigError, TomlFile
from semantic_focus.settings.training import load_config

N = 30_000
HEAD = "[semantic_cosine]\n"
NEEDED = '[model]\npath = "m"\n[[dataset.sources]]\ncache_directory = "c"\n'

LINES = {
    "blanks before a key": " " * N + "faec = 1",
    "blanks behind a key": "faec" + " " * N + "= 1",
    "tabs": "\t" * N + "faec = 1",
    "blanks in a comment that looks like a section": "#[" + " " * N + "\nfaec = 1",
    "blanks in a text that looks like a section": 'faec = """\n[' + " " * N + '\n"""',
    "blanks in a section's name": "[" + " " * N + "semantic_cosine.windwos" + " " * N + "]",
    "brackets": "face_weight = " + "[" * N + "]" * N,
    "brackets that stay open": "face_weight = " + "[" * N,
    "brackets over lines": "face_weight = " + "[\n" * N,
    "tables in tables": "face_weight = " + "{a = " * (N // 5) + "1" + "}" * (N // 5),
    "brackets of a section": "[" * N,
    "quotes": '"' * N,
    "quotes of a text": 'preset = "' + '\\"' * N + '"',
    "single quotes": "'" * N,
    "three quotes that are never closed": 'preset = """' + '\\"""' * (N // 4) + "\\",
    "backslashes": 'preset = "' + "\\" * N + '"',
    "dots": "." * N + " = 1",
    "a key of many names": ".".join("a" * N) + " = 1",
    "a key of many quoted names": ".".join(['"="'] * (N // 4)) + " = 1",
    "a key of many names in a table": "face_weight = {b = 1, " + ".".join("a" * N) + " = 1}",
    "a section of many names": "[" + ".".join("a" * N) + "]",
    "equals signs": "a" + "=" * N,
    "a long key": "a" * N + " = 1",
    "a long quoted key": '"' + "a " * (N // 2) + '" = 1',
    "a long name of a section": "[semantic_cosine." + "b" * N + "]",
    "a long text": 'preset = "' + "a" * N + '"',
    "a long number": "face_weight = " + "1" * N,
    "a number of 400 digits": "face_weight = " + "1" * 400,
    "a long number in hexadecimal": "face_weight = 0x" + "f" * N,
    "a long number with an exponent": "face_weight = 1" + "e" * N,
    "a long list": "face_weight = [" + "1," * (N // 2) + "]",
    "a list of lists as deep as may be": "face_weight = " + "[" * DEEPEST + "]" * DEEPEST,
    "many keys": "".join(f"k{index} = 1\n" for index in range(N // 12)),
}


@pytest.mark.parametrize("load", [load_objective, load_config])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_hostile_line_is_answered_in_words(tmp_path: Path, line: str, load: Callable[[Path], object]):
    path = tmp_path / "config.toml"
    path.write_text(NEEDED + HEAD + line + "\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message) < len(str(path)) + 1000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[a]\nb = " + "[" * 500, 2),
        ('[a]\nb = """\n\n"""\nc = ' + "[" * 500 + "]" * 500, 5),
        ("[a]\n\n" + ".".join("b" * 500) + " = 1", 3),
        ("[a]\nb = '#'\nc = {" + ".".join("b" * 500) + " = 1}", 3),
    ],
)
def test_what_goes_too_deep_is_named_with_its_line(tmp_path: Path, text: str, line: int):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"config\.toml, line {line}: .*more than {DEEPEST}"):
        TomlFile(path)


def test_texts_and_comments_may_have_any_number_of_brackets_and_dots(tmp_path: Path):
    path = tmp_path / "config.toml"
    odd = "[{" * 100 + "." * 100
    path.write_text(f"# {odd}\na = '{odd}' # {odd}\nb = \"\\\"{odd}\"\nc = '''\n'{odd}\n''' # {odd}\n")
    assert TomlFile(path).tables == {"a": odd, "b": f'"{odd}', "c": f"'{odd}\n"}


def test_brackets_beside_each_other_are_not_deep(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("a = [" + "[0.5], " * 1000 + "]\n" + "[[b]]\n" * 100)
    assert len(TomlFile(path).tables["a"]) == 1000


def test_no_config_file_is_that_large(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("#" * (MOST_BYTES + 1))
    with pytest.raises(ConfigError, match=rf"config\.toml: is {MOST_BYTES + 1} bytes long"):
        TomlFile(path)


def test_a_line_is_found_behind_2000_blanks(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(
        "[semantic_cosine" + " " * 2000 + "]\n" + " " * 2000 + "face_weight" + " " * 2000 + "= -1\n"
    )
    with pytest.raises(ConfigError, match=r"line 2: \[semantic_cosine\] face_weight is -1"):
        load_objective(path)
