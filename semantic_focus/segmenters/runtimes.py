"""Optional runtimes that are installed and do not work: half removed, half updated, without a system library.

Whether they are installed at all is asked of `model_files.missing_package`, which imports nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec

from ..files.command_lines import to_install
from ..files.text import in_short

PROVED: set[str] = set()
"""Modules that were imported and had what was asked of them."""


_ON_TRUST = ContextVar("on_trust", default=False)


@contextmanager
def taken_on_trust() -> Iterator[None]:
    """Import nothing meanwhile: what is installed counts as working, and shows when it is used."""
    token = _ON_TRUST.set(True)
    try:
        yield
    finally:
        _ON_TRUST.reset(token)


def is_installed(module: str) -> bool:
    """Whether there is a module of this name. One that another thread is just importing may have no spec."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False
    except ValueError:
        return True


def broken(module: str, package: str, names: Sequence[str] = ()) -> str | None:
    """Import a runtime, once: why it cannot be used, and the command that installs it anew.

    None when it can be used, or is not installed at all.

    Args:
        package: what pip calls it.
        names: what is used of it. What a half removed package leaves is a module that has nothing.
    """
    if module in PROVED or _ON_TRUST.get():
        return None
    try:
        found = import_module(module)
        lost = [name for name in names if not hasattr(found, name)]
    except ModuleNotFoundError as error:
        if error.name == module and "." not in module:
            return None  # not installed
        fault = f"cannot be imported ({in_short(error)})"
    except Exception as error:  # what a damaged library raises depends on where it is damaged
        fault = f"cannot be imported ({in_short(error)})"
    else:
        if not lost and getattr(found, "__file__", None):
            PROVED.add(module)
            return None
        fault = f"is incomplete (it has no {', '.join(lost)})" if lost else "is incomplete (it has no code)"
    return (
        f"{module} is installed but {fault}. Install it anew, then start this again:"
        f"{to_install('--force-reinstall', '--no-deps', package)}"
    )
