"""Other forward passes in the place of modules' own."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def replaced_forwards(
    modules: Iterable[nn.Module], make: Callable[[Any], Callable[..., Any]]
) -> Iterator[None]:
    """Let each module compute by what `make` gives for it; afterwards, also after an error, by what it had.

    Args:
        make: is given the module as it was before.
    """
    own: list[tuple[nn.Module, Any]] = []
    try:
        for module in modules:
            forward = make(module)
            own.append((module, vars(module).get("forward")))
            module.forward = forward
        yield
    finally:
        for module, forward in own:
            if forward is None:
                del module.forward
            else:
                module.forward = forward
