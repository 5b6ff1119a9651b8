"""Whether what a node has read is still the same: the fingerprints of all nodes that read files.

ComfyUI asks for a fingerprint before any node runs, and gives no value that comes from another node. So a
node does not say beforehand what it will read: it notes what it reads while it runs, each file as it is then.
It runs again only when one of them has changed since, wherever the file's name came from.
"""

import hashlib
import itertools
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import is_link
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context

MOST_REMEMBERED = 4096
"""Nodes whose files are remembered; one that was forgotten runs once more."""


@dataclass
class _Reading:
    """What a node has read: each question with its answer at that time. As long as all answers stay, the
    `fingerprint` does.
    """

    fingerprint: str
    run: tuple[str, str] = ("", "")
    noted: dict[tuple[Any, ...], str] = field(default_factory=dict)


_READINGS: OrderedDict[str, _Reading] = OrderedDict()
"""By what comes into the node, see `_lineage`; the longest unused first."""
_SERVER = secrets.token_hex(8)
"""No fingerprint is that of another run of the server, which has read other files."""
_numbers = itertools.count()


class ReadsFiles(io.ComfyNode):
    """A node that runs again when what it has noted with `note_files` or `note` has changed."""

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> str:
        return _fingerprint()


def note(question: Callable[..., object], *arguments: Any) -> None:
    """Note, for the node that is running, the answer of `question(*arguments)`; its printed form counts.

    To be called before what it asks for is read, and again after the node itself has changed that. An error
    (OSError, ValueError) is an answer too.
    """
    context = get_executing_context()
    if context is None:  # called by another program's code, not as a node of a graph
        return
    reading = _reading(_lineage(context.node_id))
    if reading.run != (context.prompt_id, context.node_id):
        reading.run, reading.noted = (context.prompt_id, context.node_id), {}
    reading.noted[(question, *arguments)] = _answer((question, *arguments))


def note_files(files: Callable[..., Iterable[Path]], *arguments: Any) -> None:
    """`note` which files `files(*arguments)` gives, and the state of each."""
    note(_states_of, files, *arguments)


def note_file(path: Path) -> None:
    """`note` the state of one file."""
    note(_state, path)


def note_existence(path: Path) -> None:
    """`note` that something is there: who deletes it gets it made again."""
    note(Path.exists, path)


def note_to_ask_again() -> None:
    """`note` that this result is not to be kept, whatever the files say."""
    note(_never_the_same)


def _fingerprint() -> str:
    """Of the node whose fingerprint ComfyUI asks for."""
    context = get_executing_context()
    if context is None:
        return _new_fingerprint()
    reading = _reading(_lineage(context.node_id))
    if any(_answer(question) != answer for question, answer in reading.noted.items()):
        reading.fingerprint = _new_fingerprint()
    return reading.fingerprint


def _new_fingerprint() -> str:
    return f"{_SERVER} {next(_numbers)}"


def _reading(lineage: str) -> _Reading:
    reading = _READINGS.setdefault(lineage, _Reading(""))
    reading.fingerprint = reading.fingerprint or _new_fingerprint()
    _READINGS.move_to_end(lineage)
    while len(_READINGS) > MOST_REMEMBERED:
        _READINGS.popitem(last=False)
    return reading


def _lineage(node_id: str) -> str:
    """Stands for a node and all that comes into it; as for ComfyUI, two nodes of the same inputs are one."""
    graph = get_progress_state().dynprompt
    places, waiting, described = {node_id: 0}, [node_id], []
    for current in waiting:  # grows meanwhile
        node = graph.get_node(current) if graph.has_node(current) else {}
        inputs: dict[str, Any] = {}
        for name, value in sorted(node.get("inputs", {}).items()):
            if is_link(value):
                source, output = value
                if source not in places:
                    places[source] = len(places)
                    waiting.append(source)
                value = {"from": places[source], "output": output}
            inputs[name] = value
        described.append([node.get("class_type"), inputs])
    return hashlib.sha256(json.dumps(described, default=repr).encode()).hexdigest()


def _answer(question: tuple[Any, ...]) -> str:
    function, *arguments = question
    try:
        return hashlib.sha256(repr(function(*arguments)).encode("utf-8", "backslashreplace")).hexdigest()
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def _states_of(files: Callable[..., Iterable[Path]], *arguments: Any) -> list[tuple[str, object]]:
    return [(str(path), _state(path)) for path in files(*arguments)]


def _state(path: Path) -> tuple[int, ...] | str:
    """Tells one version of a file from another."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        return type(error).__name__
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _never_the_same() -> int:
    return next(_numbers)
