"""What can go wrong while weights come, and what to do about it."""

from types import MappingProxyType
from typing import Any

from ...files.command_lines import INDENT, line, python, to_install
from ..model_files import MODELS


class FetchError(RuntimeError):
    """Weights that did not come; the message says why and what to do. What has come is kept.

    Attributes:
        kind: one of `KINDS`.
        values: what fills the places of the sentence.
    """

    def __init__(self, kind: str, name: str, **values: Any):
        model = MODELS[name]
        self.kind = kind
        self.values = {"name": name, "hub": model.hub, "page": page(name), **values}
        super().__init__(f"could not fetch {name}: {KINDS[kind].format(**self.values)}")


class CancelledError(FetchError):
    """The user wants it no more, for now."""

    def __init__(self, name: str):
        super().__init__("cancelled", name)


KINDS = MappingProxyType(
    {
        "no_client": "that needs the package huggingface_hub:{command}",
        "gated": "{hub} is gated. Accept its licence at {page}, then give the machine that runs this a token "
        "of your account:{command}",
        "not_granted": "{hub} is gated, and the account of this computer's token has no access. Accept its "
        "licence at {page}; if you have, its owner has not answered yet",
        "token": "the hub does not take this computer's token. Log in again:{command}",
        "gone": "the hub has no {what} (any more). Look at {page} for where it is now",
        "refused": "the hub answers with {status}: try again later",
        "offline": "{host} cannot be reached ({error}). Look at the network connection and the proxy; or "
        "fetch it on another machine and copy it here",
        "offline_mode": "HF_HUB_OFFLINE is set, so nothing is fetched. Start again without it",
        "stalled": "nothing has come for {seconds} s. {kept} of {size} are kept: try again, and it goes on "
        "from there",
        "cut": "the connection ended early, {times} times in a row. {kept} of {size} are kept: try again, "
        "and it goes on from there",
        "wrong": "{file} is not what the hub says that it is ({found} instead of {wanted}). It was thrown "
        "away. Try again; if it stays so, something between here and the hub changes it",
        "full": "{needed} more are needed and {place} has {free} left. Free some space and try again: what "
        "has come is kept",
        "unwritable": "{error}",
        "exists": "{file} is there and is another file. Move it away, or give another folder",
        "busy": "another program fetches it into {place} now. Wait for that one",
        "cancelled": "it was cancelled. What has come is kept: try again, and it goes on from there",
        "no_hub": "it is not on the hub: put {url} into {place}",
        "unknown": "{error}",
    }
)
"""Why weights did not come, by kind."""


def page(name: str) -> str:
    """Where people read about a model, its licence, and ask for access."""
    model = MODELS[name]
    return f"https://huggingface.co/{model.hub}" if model.hub else model.url


def to_log_in() -> str:
    """The line that gives this computer a token."""
    return INDENT + line(python(), "-c", "from huggingface_hub import login; login()")


def no_client(name: str) -> FetchError:
    """The hub's client is not installed."""
    return FetchError("no_client", name, command=to_install("huggingface_hub"))


def amount(count: int) -> str:
    """A number of bytes as people say it."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}" if unit == "GB" else f"{count / size:.0f} {unit}"
    return f"{count} bytes"
