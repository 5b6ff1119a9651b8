"""Where this pack's answers to the graph editor are registered."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp.web import RouteTableDef


def server_routes() -> "RouteTableDef | None":
    """The routes of the running server; None when the nodes are loaded without one."""
    try:
        from server import PromptServer  # here, because tests import this package without a server
    except ImportError:
        instance = None
    else:
        instance = getattr(PromptServer, "instance", None)
    if instance is None:
        logging.info("the nodes are loaded without a server: their panels get no answers")
        return None
    return instance.routes
