"""Patterns of layer names: wildcards, regular expressions as Python has them, and none that can hang."""

import logging
import re
import subprocess
import sys

import pytest
from torch import nn

from semantic_focus.lora.layers import LAYER_CHOICES, linear_layers
from semantic_focus.lora.patterns import LayerPattern, layer_patterns

from ...by_path import REPO
from .test_layers import LEFT_ALONE, TRAINED, tree

NAMES = sorted({name for names in (*TRAINED.values(), *LEFT_ALONE.values()) for name in names})
DEADLINE = 300
"""Seconds after which a process has not merely been slow."""

WILDCARDS = {
    "*blocks.1.*": (["blocks.1.attn", "double_blocks.1.attn"], ["blocks.10.attn", "blocks_1_attn"]),
    "attn?.to_*": (["x.attn1.to_q"], ["x.attn.to_q", "x.attn12.to_q"]),
    "*ATTN": (["blocks.0.attn.q"], ["blocks.0.ffn"]),
    "?": (["a"], []),
    "blocks*mlp": (["blocks.0.mlp.fc1"], ["mlp.blocks"]),
}

OF_BEFORE = (
    *("attn", ".*attn.*", "ATTN", "to_q$", "^blocks", r"blocks\.1\.", r"\.to_(q|k|v)$", "attn.*(q|k|v)"),
    *(r"blocks\.([0-9]|1[0-2])\.", r"(?:img|txt)_mod", r"[^.]+$", r"\d{1,2}", r"\w+\.\d", r"a{0}", "(a|)b?"),
    *(
        r"\D$",
        r"[\d.]{3,}",
        "^$",
        "",
        "blocks.1",
        r"layers\.[0-9]+?\.",
        "x{",
        "[]a]",
        r"\S",
        "q|k|",
        "a{,2}t",
    ),
    *(pattern for choice in LAYER_CHOICES.values() for pattern in (*choice.include, *choice.exclude)),
)
"""Regular expressions as version 0.2.0 took them."""

EVIL = (
    *("(a+)+$", "(a|aa)+$", "(a|a?)+!", "([a-z._0-9]+)*!", "(.*)*x!", ".*.*.*.*.*.*.*.*.*.*!", "(.+)+(.+)+!"),
    *("(a?){30}a{30}!", "(((a*)*)*)*!", "(x+x+)+y", r"(\w*\.)*!", "re:(a*)*b", "*a*a*a*a*a*a*a*a*a*a*!"),
)
REFUSED = {
    "(a{99}){99}": "repeats too much",
    "(((){9999}){9999}){9999}": "repeats too much",
    "(" * 200 + ")" * 200: "300|20 brackets",
    "a" * 301: "301 characters.*300 at most",
    r"(a)\1": r"\\1 is not understood",
    "a(?=b)": r"\(\?…\) has no bounded time",
    "(?i)attn": r"\(\?…\)",
    r"\battn": r"\\b is not understood",
    "(attn": "not closed",
    "attn)": "no \\( before it",
    "re:*": "nothing before \\*",
    "[a": "ends too early",
    "a\\": "ends too early",
    "[z-a]": "no range",
    "a{2,1}": "smaller number last",
    "a**(": "repetition of a repetition",
}


@pytest.mark.parametrize("text", WILDCARDS)
def test_wildcards_say_what_they_look_like(text: str):
    found, not_found = WILDCARDS[text]
    pattern = LayerPattern(text)
    assert pattern.is_wildcard
    assert [name for name in (*found, *not_found) if pattern.found_in(name)] == found


@pytest.mark.parametrize("text", OF_BEFORE)
def test_a_regular_expression_finds_what_pythons_own_search_finds(text: str):
    pattern = LayerPattern(text)
    own = re.compile(text, re.IGNORECASE)
    assert not pattern.is_wildcard
    assert [name for name in NAMES if pattern.found_in(name)] == [name for name in NAMES if own.search(name)]


def test_no_pattern_can_hang():
    program = (
        "import sys; from semantic_focus.lora.patterns import LayerPattern\n"
        "for text in sys.argv[1:]: print(LayerPattern(text).found_in('a' * 2000 + '.attn.' + 'x' * 2000))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *EVIL], cwd=REPO, capture_output=True, text=True, timeout=DEADLINE
    )
    # the name ends in x, and has no b, no y and no ! in it
    assert done.stdout.split() == ["False"] * len(EVIL), done.stderr


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_understood_is_refused_in_words(text: str):
    with pytest.raises(ValueError, match=REFUSED[text]):
        LayerPattern(text)


def test_several_wildcards_may_share_a_line_and_a_regular_expression_keeps_its_commas():
    assert [one.text for one in layer_patterns(["attn, *mlp*", "a{1,2}", "re:q,k"])] == [
        *("attn", "*mlp*", "a{1,2}", "re:q,k")
    ]
    with pytest.raises(ValueError, match="more than 200 layer patterns"):
        layer_patterns(["a," * 201])


@pytest.mark.parametrize(
    ("text", "taken", "said"),
    [
        ("blocks.1.", 2, "read as a regular expression and takes 2 layers; as wildcards it would take 1"),
        ("*blocks.1.", 1, ""),
        ("re:blocks.1.", 2, ""),
        ("attn", 2, ""),
        ("block?", 2, "read as wildcards and takes 2"),
        ("blocks.*.attn", 2, ""),
    ],
)
def test_a_pattern_that_has_two_readings_keeps_its_old_one_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture, text: str, taken: int, said: str
):
    network: nn.Module = tree(["blocks.1.attn", "blocks.10.attn", "a_block"])
    with caplog.at_level(logging.WARNING):
        assert len(linear_layers(network, include=[text])) == taken
    assert said in caplog.text and bool(said) == bool(caplog.text)
