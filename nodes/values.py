"""What the inputs of nodes may be, whoever gives them.

ComfyUI checks what is typed. It lets pass NaN, anything where a link is wanted, and every value that a link
brings.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from comfy_api.latest import io

from ..semantic_focus.files.text import printable, short, some
from ..semantic_focus.lora.adapters import AdapterSettings
from ..semantic_focus.objective.timesteps import TimestepSampling
from ..semantic_focus.objective.total import Objective
from ..semantic_focus.regions.masks import SemanticMasks
from ..semantic_focus.regions.packed import PackedMasks
from ..semantic_focus.training.scenes import Scenes
from ..semantic_focus.training.state import TrainState
from .inputs import Parsed
from .training_options import ChosenOptions, PreviewPlan

MOST_SHOWN = 80
"""Characters of a value that a message repeats."""
MOST_OPTIONS = 20
"""Of more, a message names the first."""


def with_checked_inputs(nodes: Iterable[type[io.ComfyNode]]) -> list[type[io.ComfyNode]]:
    """The nodes, which refuse what their schema does not promise: node, input, value and what is wanted.

    A text of a certain form (see `Parsed`) is refused with the whole prompt where it was typed, as limits and
    choices are by ComfyUI. What comes by a link is known, and refused, when the node runs.
    """
    nodes = list(nodes)
    for node in nodes:
        node.execute = classmethod(_checked(node.execute.__func__))  # pyright: ignore[reportAttributeAccessIssue]
        if texts := [given.id for given in node.define_schema().inputs if isinstance(given, Parsed)]:
            node.validate_inputs = classmethod(_validation(texts))  # pyright: ignore[reportAttributeAccessIssue]
    return nodes


def _checked(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    @functools.wraps(execute)
    def checked(cls: type[io.ComfyNode], **values: Any) -> io.NodeOutput:
        schema = cls.define_schema()
        if faults := input_faults(schema, values):
            raise ValueError("\n".join(faults))
        optional = {given.id for given in schema.inputs if given.optional}
        given = {
            name: value for name, value in values.items() if name not in optional or not _is_nothing(value)
        }
        return execute(cls, **given)

    return checked


def _validation(texts: list[str]) -> Callable[..., bool | str]:
    """`validate_inputs` of a node, for its texts. One that is linked is None, a missing one is not given; a
    node that takes lists gets them here as well.
    """

    def validate(cls: type[io.ComfyNode], **typed: Any) -> bool | str:
        schema = cls.define_schema()
        given = {name: text if schema.is_input_list else [text] for name, text in typed.items()}
        faults = [
            named(schema, one, fault)
            for one in schema.inputs
            for text in given.get(one.id) or ()
            if text is not None and (fault := value_fault(one, text))
        ]
        return "\n".join(faults) or True

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, default=None) for name in texts]
    signature = inspect.Signature([inspect.Parameter("cls", kind), *parameters])
    validate.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess] (ComfyUI goes by it)
    return validate


def _is_nothing(value: Any) -> bool:
    return value is None or isinstance(value, list) and value == [None]


def input_faults(schema: io.Schema, values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values that a node is executed with, a sentence each."""
    faults = []
    for given in schema.inputs:
        if given.id not in values:
            continue
        value = values[given.id]
        each = value if schema.is_input_list else [value]
        if not each and not given.optional:
            faults.append(named(schema, given, "nothing came in: what is connected gave an empty list"))
        # one sentence for an input, of however many values
        wrong = (fault for one in each if (fault := value_fault(given, one)))
        faults += [named(schema, given, fault) for fault in [next(wrong, None)] if fault]
    return faults


def named(schema: io.Schema, given: io.Input, fault: str) -> str:
    """A fault of an input's value, with the names of node and input."""
    for mark in (", ", ": "):  # of parsers that name what they read
        fault = fault.removeprefix(given.id + mark)
    return f"{schema.display_name}, {given.id}: {fault}"


def value_fault(given: io.Input, value: Any) -> str | None:
    """What is wrong with a value for an input; None when nothing is."""
    if value is None and given.optional:
        return None
    if isinstance(given, io.Int.Input | io.Float.Input):
        return _number_fault(given, value)
    if isinstance(given, io.Boolean.Input):
        return None if _is_switch(value) else f"{shown(value)} is neither true nor false"
    if isinstance(given, io.Combo.Input):
        return None if value in given.options else f"{shown(value)} is none of {_listed(given.options)}"
    if isinstance(given, io.String.Input):
        return _text_fault(given, value)
    promise = PROMISES[str(given.get_io_type())]
    return (
        None
        if promise(value)
        else f"{shown(value)} is no {given.get_io_type()}: connect an output of that type"
    )


def _number_fault(given: io.Int.Input | io.Float.Input, value: Any) -> str | None:
    whole = isinstance(given, io.Int.Input)
    low = -math.inf if given.min is None else given.min
    high = math.inf if given.max is None else given.max
    number: Any = value if isinstance(value, Integral if whole else Real) else math.nan
    # compared as it is: a whole number may be larger than any float
    if low <= number <= high and abs(number) != math.inf and not isinstance(value, bool):
        return None
    kind = "a whole number" if whole else "a number"
    limits = "" if given.min is None or given.max is None else f" from {given.min} to {given.max}"
    return f"{shown(value)} is not {kind}{limits}"


def _is_switch(value: Any) -> bool:
    # other packs give their switches as 0 and 1, or as numpy has them
    return isinstance(value, Real) and value in (0, 1) or type(value).__name__ in ("bool_", "bool")


def _text_fault(given: io.String.Input, value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{shown(value)} is not a text"
    if "\0" in value:
        return f"{shown(value)} has a NUL character in it, which no text for people has: take it out"
    try:
        value.encode("utf-8", "surrogateescape")  # names of files may have bytes that are not UTF-8
    except UnicodeEncodeError:
        return f"{shown(value)} has half a character in it, which no file system takes: take it out"
    if isinstance(given, Parsed):
        try:
            given.parse(value)
        except ValueError as error:
            return printable(str(error))
    return None


def _listed(options: Iterable[Any]) -> str:
    options = [*map(str, options)]
    if not options:
        return "the choices, since there are none"
    return some(options, MOST_OPTIONS)


def shown(value: Any) -> str:
    """A value as messages repeat it: what can be typed as it is, cut short; of anything else its kind."""
    if _is_tensor(value):
        return f"a tensor of {tuple(value.shape)}"
    if not isinstance(value, str | Real | dict | list | tuple | None):
        return f"a {type(value).__name__}"
    return short(value, MOST_SHOWN)


def _is_tensor(value: Any) -> bool:
    # by its ways: what ComfyUI calls a tensor may be several in one
    return hasattr(value, "shape") and hasattr(value, "to")


def _is_image(value: Any) -> bool:
    return _is_tensor(value) and len(value.shape) == 4 and value.shape[-1] >= 3 and value.numel() > 0


def _is_conditioning(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, list | tuple)
        and len(entry) == 2
        and _is_tensor(entry[0])
        and isinstance(entry[1], dict)
        for entry in value
    )


def _is_lora(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(_is_tensor, value.values()))


def _is_loss_map(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("regions", {}), Mapping):
        return False
    curves = [value.get("loss"), *value.get("regions", {}).values()]
    return all(
        isinstance(curve, list) and all(isinstance(point, Real) for point in curve) for curve in curves
    )


PROMISES: dict[str, Callable[[Any], bool]] = {
    "IMAGE": _is_image,
    "MASK": lambda value: _is_tensor(value) and len(value.shape) >= 2,
    "LATENT": lambda value: isinstance(value, Mapping) and _is_tensor(value.get("samples")),
    "CONDITIONING": _is_conditioning,
    "MODEL": lambda value: hasattr(value, "model") and hasattr(value, "model_options"),
    "VAE": lambda value: hasattr(value, "decode"),
    "CLIP": lambda value: hasattr(value, "tokenize"),
    "LORA_MODEL": _is_lora,
    "LOSS_MAP": _is_loss_map,
    # of a list, each is unpacked when its turn comes
    "SEMANTIC_MASKS": lambda value: isinstance(value, SemanticMasks | PackedMasks),
    "SEMANTIC_LATENT_MASKS": lambda value: isinstance(value, SemanticMasks),
    "SEMANTIC_OBJECTIVE": lambda value: isinstance(value, Objective),
    "SEMANTIC_TIMESTEPS": lambda value: isinstance(value, TimestepSampling),
    "SEMANTIC_ADAPTER": lambda value: isinstance(value, AdapterSettings),
    "SEMANTIC_TRAIN_STATE": lambda value: isinstance(value, TrainState),
    "SEMANTIC_TRAINING_OPTIONS": lambda value: isinstance(value, ChosenOptions),
    "SEMANTIC_SCENES": lambda value: isinstance(value, Scenes),
    "SEMANTIC_PREVIEW": lambda value: isinstance(value, PreviewPlan),
}
"""By socket: whether a value is what the socket stands for."""
