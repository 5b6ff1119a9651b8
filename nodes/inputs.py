"""Inputs that many nodes have, and what checks a text that was typed into one."""

from collections.abc import Callable

from comfy_api.latest import io


def whole(name: str, default: int, limits: tuple[int, int], tooltip: str) -> io.Int.Input:
    """A whole number within limits."""
    low, high = limits
    return io.Int.Input(name, default=default, min=low, max=high, tooltip=tooltip)


def number(
    name: str, default: float, limits: tuple[float, float], step: float, tooltip: str
) -> io.Float.Input:
    """A number within limits, which arrows move by `step`."""
    low, high = limits
    return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip)


def mask_file() -> io.String.Input:
    """The path of a mask file."""
    return io.String.Input("mask_file", tooltip="Usually the mask_files output of Load Semantic Dataset.")


def checked(text: str | None, parse: Callable[[str], object]) -> bool | str:
    """What `validate_inputs` answers for a text: what is wrong with it, or True. A text that comes
    from another node is not known yet, and passes.
    """
    if text is None:
        return True
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return True
