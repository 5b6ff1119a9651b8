"""What the chooser of folders asks the server: which folders have pictures, and to keep dropped pictures.

Security is as in `dataset_routes.py`. Pictures go below ComfyUI's input folder only, where whoever reaches
the server may put files anyway; they are sent with a type that no form can send.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from ..semantic_focus.datasets.adding import add_file
from ..semantic_focus.datasets.captions import CAPTION_SUFFIXES
from ..semantic_focus.datasets.choices import folders_with_pictures
from ..semantic_focus.datasets.formats import PICTURE_SUFFIXES
from ..semantic_focus.datasets.listing import Bounds
from .dataset_routes import answering, bytes_body, json_body, wrong
from .paths import dataset_folder_to_write, folders_to_choose_below, input_folder, refusals
from .routes import server_routes

THREADS = 2
"""How many files are kept at once; the cores belong to ComfyUI."""
MOST_BYTES = 256 << 20
"""Of one file."""
TOO_LONG = f"the file is longer than {MOST_BYTES >> 20} MiB: copy it there by hand"
MOST_ENTRIES, MOST_SECONDS = 20_000, 2.0
"""Files and folders that are looked at below each place, and how long."""


def register() -> None:
    """Make the server answer; to be called while it loads its nodes. Without a server, nothing happens."""
    if (routes := server_routes()) is None:
        return
    folders = _Folders(ThreadPoolExecutor(THREADS, "folders"))
    routes.post("/semantic_focus/folders")(answering(folders.choices))
    routes.post("/semantic_focus/folders/add")(answering(folders.add))


@dataclass(frozen=True)
class _Folders:
    """The handlers."""

    pool: ThreadPoolExecutor

    async def _in_thread(self, job: Callable[[], Any]) -> web.Response:
        """What is wrong with a file or a folder is an answer."""
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self.pool, job)
        except (ValueError, OSError) as error:
            return wrong(error)
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def choices(self, request: web.Request) -> web.Response:
        """{} -> {input, folders: [{path, name, pictures}], endings: {pictures, captions}}.

        A name begins below input, or is the path; the endings are those of files that `add` takes.
        """
        await json_body(request)

        def job() -> dict[str, Any]:
            root = input_folder()
            bounds = Bounds(MOST_ENTRIES, MOST_SECONDS, refused=refusals())
            found = folders_with_pictures(folders_to_choose_below(), bounds)
            listed = [
                {"path": str(one.path), "name": _name(one.path, root), "pictures": one.pictures}
                for one in found
                if one.path != root
            ]
            endings = {"pictures": PICTURE_SUFFIXES, "captions": CAPTION_SUFFIXES}
            return {"input": str(root), "folders": listed, "endings": endings}

        return await self._in_thread(job)

    async def add(self, request: web.Request) -> web.Response:
        """?folder=&name= and the bytes of a picture or caption -> {folder, name, outcome}."""
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        content = await bytes_body(request, MOST_BYTES, TOO_LONG)

        def job() -> dict[str, Any]:
            folder = dataset_folder_to_write(query.get("folder", ""))
            added = add_file(folder, query.get("name", ""), content)
            return {"folder": str(folder), "name": added.name, "outcome": added.outcome}

        return await self._in_thread(job)


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
