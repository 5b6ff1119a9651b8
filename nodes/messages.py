"""What nodes say when they fail, in a form that every stream takes."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..semantic_focus.files.text import printable

PACK = str(Path(__file__).parent.parent)

METHODS = ("execute", "fingerprint_inputs", "validate_inputs")


def with_printable_errors(nodes: Iterable[type[io.ComfyNode]]) -> list[type[io.ComfyNode]]:
    """The nodes, whose errors can be printed whatever file they name.

    ComfyUI writes errors to a stream that refuses lone surrogates (the bytes of a name that is not UTF-8);
    its worker would end there, and every later prompt would hang.
    """
    nodes = list(nodes)
    for node in nodes:
        for name in METHODS:
            if (method := vars(node).get(name)) is not None:
                setattr(node, name, classmethod(_with_printable_error(method.__func__)))
    return nodes


def _with_printable_error(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(*arguments: Any, **named: Any) -> Any:
        try:
            return method(*arguments, **named)
        except Exception as error:
            said = str(error)
            if printable(said) == said:
                raise
            # not "from error": what is written is the whole chain
            raise _like(error, printable(said)).with_traceback(error.__traceback__) from None

    checked.__signature__ = inspect.signature(method)  # pyright: ignore[reportAttributeAccessIssue] (ComfyUI goes by it)
    return checked


def _like(error: Exception, message: str) -> Exception:
    # not by its own __init__, which may make a message of something else
    like = type(error).__new__(type(error), message)
    return like if str(like) == message else RuntimeError(message)


class _PrintableRecords(logging.Filter):
    """Makes what this pack logs printable; other records stay as they are."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.pathname.startswith(PACK):
            record.msg, record.args = printable(record.getMessage()), ()
            if record.exc_info:
                record.exc_text = printable(logging.Formatter().formatException(record.exc_info))
        return True


def keep_logs_printable() -> None:
    """Make all that this pack logs printable, whatever file it names.

    A stream that cannot write a message has a traceback in its place.
    """
    for handler in logging.getLogger().handlers:
        if not any(isinstance(known, _PrintableRecords) for known in handler.filters):
            handler.addFilter(_PrintableRecords())
