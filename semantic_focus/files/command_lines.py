"""Commands in messages: with this Python, by paths, so that they run in any folder and as they are written.

ComfyUI's portable build has an isolated Python, which looks for packages neither in the folder where it is
started nor beside a program. This file imports nothing of the package: `install.py` loads it by its path.
"""

import re
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""Python runs a folder that has a `__main__.py`."""
INDENT = "\n    "
"""Before each command: on a line of its own, it can be copied."""
PLAIN_ON_WINDOWS = re.compile(r"[\w\-.:/\\=~]+")
"""What its shell takes without quotation marks."""


def to_run(*arguments: object) -> str:
    """The line that runs our command line with these arguments: `to_run("masks", folder)`."""
    return INDENT + line(python(), PACKAGE, *arguments)


def to_install(*packages: str) -> str:
    """The lines that install packages (with versions, as pip takes them) into this Python."""
    return to_have_pip() + INDENT + line(python(), "-m", "pip", "install", *packages)


def to_have_pip() -> str:
    """The line that brings pip into this Python; empty when it is there."""
    if find_spec("pip") is not None:
        return ""
    if uv := shutil.which("uv"):
        return INDENT + line(uv, "pip", "install", "--python", python(), "pip")
    if find_spec("ensurepip") is not None:
        return INDENT + line(python(), "-m", "ensurepip")
    return (
        f"{INDENT}(this Python has no pip: run get-pip.py with it, which the documentation of pip offers "
        "under Installation; then)"
    )


def python() -> str:
    """The program that runs this."""
    return sys.executable or "python"


def line(*words: object) -> str:
    """One line for the shell of this system."""
    return " ".join(quoted(str(word)) for word in words)


def quoted(word: str, windows: bool = sys.platform == "win32") -> str:
    """A word as a shell takes it; on Windows one without double quotation marks, which no path has there."""
    if not windows:
        return shlex.quote(word)
    return word if PLAIN_ON_WINDOWS.fullmatch(word) else f'"{word}"'
