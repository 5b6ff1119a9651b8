"""Text that leaves us can be printed, and JSON that comes in is bounded."""

import json
import os
from pathlib import Path

import pytest

from semantic_focus.files.text import in_short, parsed_json, printable, short, shortened


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain.png", "plain.png"),
        ("人物 é 🙂\n", "人物 é 🙂\n"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        (os.fsdecode(b"\xff\xfe"), r"\xff\xfe"),
        ("lone \ud83d half", r"lone \ud83d half"),
        (Path(os.fsdecode(b"/a/\x80")), r"/a/\x80"),
        (ValueError(os.fsdecode(b"no \x81")), r"no \x81"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("abc\u202egpj\u2069", r"abc\u202egpj\u2069"),
        ("a\rb\x00\x85c", r"a\x0db\x00\x85c"),
        ("lines\nstay\tas they are", "lines\nstay\tas they are"),
        ("👩‍🦰 ☕ 面部 é", "👩‍🦰 ☕ 面部 é"),
    ],
)
def test_printable_text_can_be_encoded_and_keeps_what_could_be(text: object, said: str):
    assert printable(text) == said
    assert printable(printable(text)) == said
    printable(text).encode("utf-8")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("uuids"), "KeyError: 'uuids'"),
        (RuntimeError("two\n  lines"), "RuntimeError: two lines"),
        (OSError("caf\udce9"), r"OSError: caf\xe9"),
        (ValueError("word " * 99), "ValueError: " + "word " * 36 + "word …"),
    ],
)
def test_an_error_in_short_is_one_printable_line(error: Exception, said: str):
    assert in_short(error) == said and len(said) <= 200


class TestParsedJson:
    @pytest.mark.parametrize("text", ['{"a": [1, -0.5, null, "x"]}', "9" * 100, "[" * 50 + "]" * 50])
    def test_what_a_program_writes_is_read_as_ever(self, text: str):
        assert parsed_json(text) == json.loads(text)

    @pytest.mark.parametrize(
        "text", ["{", "[" * 100_000, "9" * 101, "9" * 5000, "1e999", "NaN", "-Infinity", ""]
    )
    def test_what_cannot_be_used_later_is_refused_now(self, text: str):
        with pytest.raises(ValueError):
            parsed_json(text)


@pytest.mark.parametrize(
    ("text", "most", "said"),
    [
        ("a path", 6, "a path"),
        ("0123456789abcdef", 15, "01234 ... bcdef"),
        ("0123456789abcdef", 14, "01234 ... cdef"),
        ("x" * 201, 200, "x" * 98 + " ... " + "x" * 97),
    ],
)
def test_of_a_long_text_the_middle_is_left_out(text: str, most: int, said: str):
    assert shortened(text, most) == said and len(said) <= most
    assert short(text, len(text) + 2) == repr(text)
