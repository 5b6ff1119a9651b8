"""Trainings as the graph editor sees them: reports to every tab, and a route for those that come later."""

import asyncio
import json
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from comfy_execution.utils import get_executing_context

from ..semantic_focus.training.status import TrainingBoard, TrainingStatus, Watched
from .routes import server_routes

EVENT = "semantic_focus.training"
ROUTE = "/semantic_focus/training"

BOARD = TrainingBoard()
"""The trainings of this process; lasts as long as it does, and holds the last few."""


def watched_training(steps: int, node_id: str | None, extra: Mapping[str, Any] | None) -> TrainingStatus:
    """A training that every tab of the editor is told of.

    Args:
        steps: how many there will be.
        extra: what the editor sends along, with the workflow.
    """
    context = get_executing_context()
    workflow = ((extra or {}).get("workflow") or {}).get("id")
    watched = Watched(workflow, str(node_id), context.prompt_id if context else None)
    status = TrainingStatus(watched, steps, _broadcast)
    if node_id is not None:
        BOARD.add(status)
    return status


def _broadcast(report: dict[str, Any]) -> None:
    """To all tabs: also to those that did not press Run."""
    from server import PromptServer

    PromptServer.instance.send_sync(EVENT, report)


def _answer(workflow: str | None, curves: bool) -> str:
    reports = [status.report(after=0 if curves else sys.maxsize) for status in BOARD.of(workflow)]
    return json.dumps({"trainings": reports}, allow_nan=False)


def add_routes() -> None:
    """`GET /semantic_focus/training?workflow=<id>`: {"trainings": [report, ...]}; with points=0 without
    their curves.
    """
    from aiohttp import web

    async def trainings(request: web.Request) -> web.Response:
        answer = partial(_answer, request.query.get("workflow"), request.query.get("points") != "0")
        return web.Response(text=await asyncio.to_thread(answer), content_type="application/json")

    if (routes := server_routes()) is not None:
        routes.get(ROUTE)(trainings)
