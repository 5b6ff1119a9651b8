"""Whether the words of a mask file answer those of a request, by what its segmenter reads of them."""

from typing import Any

from ..categories import SEMANTIC_CATEGORIES
from ..files.text import parsed_json
from ..keywords import plain
from ..segmenters.protocol import is_looked_for


def answers(found: str | None, wanted: str, keep_overlaps: bool) -> bool:
    """Whether the header field "keywords" of a mask file answers that of a request.

    A list is one of categories that must be there: its segmenter reads no words, and finds each category for
    itself. A table has the words of each category: those that are read must be the same, in any order. More
    categories of the user's own do not matter, because each of them is a layer of its own.

    Args:
        found, wanted: as `cache.request_fields` writes them; `found` comes from a file.
    """
    if found == wanted:
        return True
    try:
        asked, there = parsed_json(wanted), parsed_json(found or "null")
    except ValueError:
        return False
    if isinstance(asked, list):
        return isinstance(there, list | dict) and set(asked) <= set(map(str, there))
    if not isinstance(asked, dict) or not isinstance(there, dict):
        return False
    vocabulary = {name for name in there if name in SEMANTIC_CATEGORIES}
    return vocabulary <= asked.keys() <= there.keys() and all(
        _read(name, there[name], keep_overlaps) == _read(name, entry, keep_overlaps)
        for name, entry in asked.items()
    )


def _read(category: str, prompt: Any, keep_overlaps: bool) -> Any:
    """What is read of the words of a category."""
    if not isinstance(prompt, dict) or not is_looked_for(category, keep_overlaps):
        return None
    texts = {name: value for name, value in prompt.items() if isinstance(value, list)}
    return {**prompt, **{name: sorted({plain(str(word)) for word in words}) for name, words in texts.items()}}
