"""What is wrong with a prompt, said before ComfyUI makes something else of it.

ComfyUI turns whatever is typed into the type of the input: null becomes the text "None", and any text is
true. What does not turn, and a link to nowhere, ends in an error of Python's. So prompts are looked at when
they arrive.
"""

import importlib
import logging
import math
import sys
from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from .routes import prompt_server
from .values import named, value_fault

SWITCHES = {"true": True, "false": False}


class Refused(str):
    """A sentence in place of a value: ComfyUI cannot turn it into anything, and tells why in these words."""

    def _refuse(self) -> Any:
        raise ValueError(self.__format__(""))

    __int__ = __float__ = __bool__ = __str__ = _refuse

    def __format__(self, form: str) -> str:
        return str.__str__(self)


def watch_prompts(nodes: list[type[io.ComfyNode]]) -> None:
    """Look at every prompt that comes over HTTP; without a server, nothing happens."""
    if (server := prompt_server()) is not None:
        ours = {node.define_schema().node_id: node for node in nodes}
        server.add_on_prompt_handler(lambda request: checked_request(request, ours))


def checked_request(request: Any, ours: Mapping[str, type[io.ComfyNode]]) -> Any:
    """The body of a request to /prompt, in which ComfyUI finds what is wrong with the inputs of our nodes."""
    prompt = request.get("prompt") if isinstance(request, dict) else None
    if not isinstance(prompt, dict):
        return request
    for node in prompt.values():
        kind = _kind_of(node)
        if kind in ours and isinstance(inputs := node.get("inputs"), dict):
            _check(ours[kind].define_schema(), inputs, prompt)
    return request


def _kind_of(node: Any) -> str:
    """The class of a node; empty when it has none."""
    kind = node.get("class_type") if isinstance(node, dict) else None
    return kind if isinstance(kind, str) else ""


def _check(schema: io.Schema, inputs: dict[str, Any], prompt: Mapping[str, Any]) -> None:
    for given in schema.inputs:
        if given.id not in inputs:
            continue
        value = inputs[given.id] = _meant(given, inputs[given.id])
        if value is None and given.optional:
            del inputs[given.id]
        elif fault := _link_fault(value, prompt) if isinstance(value, list) else _literal_fault(given, value):
            sentence = Refused(named(schema, given, fault))
            logging.error(f"{sentence:}")
            # what is not turned into a type is made a bad link, which ComfyUI shows with the complaint
            turned = isinstance(given, io.WidgetInput) and not isinstance(given, io.Combo.Input)
            inputs[given.id] = sentence if turned else [sentence]


def _link_fault(link: list[Any], prompt: Mapping[str, Any]) -> str | None:
    if len(link) != 2 or not isinstance(link[0], str) or type(link[1]) is not int:
        return f"{link!r} is no link: give the id of a node as a text, and the number of its output"
    source, slot = link
    if source not in prompt:
        return f"it is linked to the node {source!r}, which is not in the prompt"
    node = importlib.import_module("nodes").NODE_CLASS_MAPPINGS.get(_kind_of(prompt[source]))
    if node is not None and not 0 <= slot < len(node.RETURN_TYPES):
        count = len(node.RETURN_TYPES)
        return f"it is linked to output {slot} of the node {source!r}, which has {count}, counted from 0"
    return None


def _meant(given: io.Input, value: Any) -> Any:
    """A literal in the type of its input, where nothing is lost by that."""
    try:
        if isinstance(given, io.Int.Input) and isinstance(value, str | float):
            return int(value) if isinstance(value, str) or value.is_integer() else value
        if isinstance(given, io.Float.Input) and isinstance(value, str):
            return float(value)
    except ValueError:
        return value
    if isinstance(given, io.String.Input) and type(value) in (int, float):
        return str(value)
    if isinstance(given, io.Boolean.Input) and isinstance(value, str):
        return SWITCHES.get(value.strip().lower(), value)
    return value


def _literal_fault(given: io.Input, value: Any) -> str | None:
    """What is wrong with a literal, where ComfyUI has no words for it.

    It has some for numbers beyond the limits. It asks the node about the form of a text. A choice is tested
    when the node runs: no complaint that could be had here would fit.
    """
    has_words = isinstance(given, io.Combo.Input) or (
        isinstance(given, io.String.Input) and isinstance(value, str)
    )
    if isinstance(given, io.Int.Input):
        has_words = type(value) is int
    if isinstance(given, io.Float.Input):
        # more than fits a float, infinity and NaN are not
        number: Any = value if type(value) in (int, float) else math.nan
        has_words = abs(number) < sys.float_info.max
    return None if has_words else value_fault(given, value)
