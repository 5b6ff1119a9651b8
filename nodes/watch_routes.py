"""What a panel asks that watches a training by its run folder: what is new, samples, which runs there are.

Security is as in `dataset_routes.py`. Samples are given from folders that were watched since the server
started. All that waits for a disk is done in threads of our own; a storage that hangs holds up one of them.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from ..semantic_focus.datasets.listing import Bounds
from ..semantic_focus.datasets.turns import Turns
from ..semantic_focus.training.run_choices import run_folders_below
from ..semantic_focus.training.watching import RunWatches
from .dataset_routes import Answer, ListedFolders, answering, json_body, send_thumbnail, text_of, wrong
from .paths import output_folder, refusals, run_folder_to_read, runs_to_choose_below
from .routes import server_routes

THREADS = 4
"""How many folders are looked at at once; they wait for disks."""
MOST_ENTRIES, MOST_SECONDS = 20_000, 2.0
"""Files and folders that are looked at below each place, and how long."""
LONGEST_KEY = 64


def register() -> None:
    """Make the server answer; to be called while it loads its nodes. Without a server, nothing happens."""
    if (routes := server_routes()) is None:
        return
    runs = _Runs(Turns(ThreadPoolExecutor(THREADS, "runs")))
    samples = ThreadPoolExecutor(1, "samples")
    routes.post("/semantic_focus/training/folder")(answering(runs.watch))
    routes.post("/semantic_focus/training/folders")(answering(runs.choices))
    routes.get("/semantic_focus/training/sample")(answering(partial(send_thumbnail, samples, runs.watched)))


@dataclass(frozen=True)
class _Runs:
    """The handlers."""

    turns: Turns[Answer]
    watches: RunWatches = field(default_factory=RunWatches)
    watched: ListedFolders = field(default_factory=ListedFolders)

    async def watch(self, request: web.Request) -> web.Response:
        """{folder, run, after} -> {folder, report}, see `RunWatch.report`; samples are asked for by `folder`.

        `run` and `after` say what of it is known; without them all is told.
        """
        body = await json_body(request)
        folder, run, after = text_of(body, "folder"), text_of(body, "run"), body.get("after", 0)
        if type(after) is not int or len(run) > LONGEST_KEY:
            raise ValueError(f"after is {after!r:.40}: it must be a whole number, and run what a report has")

        def job() -> Answer:
            place = run_folder_to_read(folder)
            report = self.watches.of(place).report(run, after)
            content = json.dumps({"folder": str(place), "report": report}, allow_nan=False)
            return Answer(str(place), content.encode())

        return await self._answer(folder, f"{run} {after}", job)

    async def choices(self, request: web.Request) -> web.Response:
        """{} -> {output, runs: [{path, name, written}]}; a name begins below output, or is the path."""
        await json_body(request)

        def job() -> Answer:
            root = output_folder()
            bounds = Bounds(MOST_ENTRIES, MOST_SECONDS, refused=refusals())
            runs: list[dict[str, Any]] = []
            for one in run_folders_below(runs_to_choose_below(), bounds):
                below = one.path.is_relative_to(root)
                name = one.path.relative_to(root).as_posix() if below else str(one.path)
                runs.append({"path": str(one.path), "name": name, "written": one.written})
            return Answer("", json.dumps({"output": str(root), "runs": runs}).encode())

        return await self._answer("", "choices", job)

    async def _answer(self, place: str, question: str, job: Callable[[], Answer]) -> web.Response:
        """What a job makes in its turn; what is wrong with a folder is an answer."""
        try:
            answer = await self.turns.take(place, question, lambda waits: job())
        except (ValueError, OSError) as error:
            return wrong(error)
        if answer.folder:
            self.watched.add(answer.folder)
        return web.Response(
            body=answer.content, content_type="application/json", headers={"Cache-Control": "no-store"}
        )
