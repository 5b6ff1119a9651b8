"""What the panels ask about segmenters: what a choice comes to, and to bring weights that are missing.

Weights are asked for by the names of the library's own table; their address, files and place are the
server's to know. Who may start that is decided in `paths.py`. As in `dataset_routes.py`, every question is a
POST with JSON, and other sites are not heard.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

from aiohttp import web

from ..semantic_focus.comfy.segmenters import BACKENDS
from ..semantic_focus.keywords import format_keywords, parse_keywords
from ..semantic_focus.segmenters.hub.jobs import Fetches
from ..semantic_focus.segmenters.model_files import MODELS
from ..semantic_focus.segmenters.protocol import SegmentRequest
from ..semantic_focus.segmenters.ways import all_ways, outlook, target
from .dataset_routes import answering, json_body, text_of, wrong
from .paths import may_not_fetch
from .routes import server_routes
from .segment import weight_folders

Act = Callable[[Fetches, Mapping[str, Any]], dict[str, Any]]


def register(fetches: Fetches | None = None) -> None:
    """Make the server answer; to be called while it loads its nodes. Without a server, nothing happens."""
    if (routes := server_routes()) is None:
        return
    fetches = fetches or Fetches()
    pool = ThreadPoolExecutor(1, "segmenters")
    for name, act in ROUTES.items():
        routes.post(f"/semantic_focus/{name}")(answering(partial(_answer, pool, fetches, act)))


async def _answer(pool: ThreadPoolExecutor, fetches: Fetches, act: Act, request: web.Request) -> web.Response:
    body = await json_body(request)
    try:
        content = await asyncio.get_running_loop().run_in_executor(pool, act, fetches, body)
    except (ValueError, OSError) as error:
        return wrong(error)
    return web.json_response(content, headers={"Cache-Control": "no-store"})


def tell_outlook(fetches: Fetches, body: Mapping[str, Any]) -> dict[str, Any]:
    """{backend, keywords} -> what that comes to, see `ways.Outlook`; both may be absent."""
    keywords = text_of(body, "keywords", format_keywords(SegmentRequest().prompts))
    request = SegmentRequest(parse_keywords(keywords))
    found = outlook(text_of(body, "backend", "auto"), request, weight_folders(), BACKENDS)
    return {**asdict(found), "sentence": found.sentence, **_fetches(fetches)}


def tell_ways(fetches: Fetches, body: Mapping[str, Any]) -> dict[str, Any]:
    """{} -> {ways, fetches, refused}: every segmenter with its weights, and how far each fetch is."""
    return {"ways": [asdict(way) for way in all_ways(weight_folders(), BACKENDS)], **_fetches(fetches)}


def tell_fetches(fetches: Fetches, body: Mapping[str, Any]) -> dict[str, Any]:
    """{} -> {fetches, refused}: how far each fetch is, by the name of its weights."""
    return _fetches(fetches)


def start_fetch(fetches: Fetches, body: Mapping[str, Any]) -> dict[str, Any]:
    """{name} -> {fetches, refused}."""
    name = _allowed_name(body)
    fetches.start(name, target(name, weight_folders()))
    return _fetches(fetches)


def cancel_fetch(fetches: Fetches, body: Mapping[str, Any]) -> dict[str, Any]:
    """{name} -> {fetches, refused}; what has come is kept."""
    fetches.cancel(_allowed_name(body))
    return _fetches(fetches)


def discard_fetch(fetches: Fetches, body: Mapping[str, Any]) -> dict[str, Any]:
    """{name} -> {fetches, refused}; what has come is thrown away."""
    name = _allowed_name(body)
    fetches.discard(name, target(name, weight_folders()))
    return _fetches(fetches)


ROUTES: dict[str, Act] = {
    "segmenter": tell_outlook,
    "weights": tell_ways,
    "weights/fetches": tell_fetches,
    "weights/fetch": start_fetch,
    "weights/cancel": cancel_fetch,
    "weights/discard": discard_fetch,
}


def _fetches(fetches: Fetches) -> dict[str, Any]:
    return {"fetches": fetches.told(), "refused": may_not_fetch()}


def _allowed_name(body: Mapping[str, Any]) -> str:
    """The name of weights in a request.

    Raises:
        ValueError: there are none of that name, or who asks may not have them fetched.
    """
    name = text_of(body, "name")
    if name not in MODELS:
        raise ValueError(f"no weights {name[:60]!r}; there are {', '.join(MODELS)}")
    if refused := may_not_fetch():
        raise ValueError(refused)
    return name
