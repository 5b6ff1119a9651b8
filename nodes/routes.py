"""The server that the nodes are loaded by."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp.web import RouteTableDef


def server_routes() -> "RouteTableDef | None":
    """The routes of the running server; None when the nodes are loaded without one."""
    if (server := prompt_server()) is None:
        logging.info("the nodes are loaded without a server: their panels get no answers")
        return None
    return server.routes


def prompt_server() -> Any:
    """ComfyUI's running server; None when the nodes are loaded without one."""
    try:
        from server import PromptServer  # here, because tests import this package without a server
    except ImportError:
        return None
    return getattr(PromptServer, "instance", None)
