"""What the dataset browser asks the server: the pictures of a folder, their thumbnails, their captions.

A caption is written only beside a picture of a folder that was listed, as thumbnails are shown.

Which folders may be read is decided in `paths.py`, as for nodes. Other web sites that the user has open can
reach the server too, by way of the browser. They cannot ask for lists and captions, because those want POST
with JSON, which no form can send. A thumbnail is a GET: any page can ask for one in an <img>, and would learn
whether there is such a picture, and its size. So all is refused to other sites where the browser tells them,
and thumbnails come only from folders that were listed since the server started: any other is refused before
the file system is asked, which on Windows may log in to a host.

What is wrong with a folder or a file is an answer, {"error": a sentence} with status 200: browsers write
every other status into their console. A request that nobody should send is refused with 400 or 403, a file
that is gone with 404.

All that waits for a disk is done in threads of our own, few of them: ComfyUI sends its files in the others.
"""

import asyncio
import io
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from comfy.cli_args import args

from ..semantic_focus.comfy.segmenters import BACKENDS
from ..semantic_focus.datasets.caption_editing import add_trigger, look_at_caption, write_caption
from ..semantic_focus.datasets.folder import DatasetError, list_pictures
from ..semantic_focus.datasets.listing import Bounds
from ..semantic_focus.datasets.mending import ChangedMeanwhileError
from ..semantic_focus.datasets.pauses import no_full_collections
from ..semantic_focus.datasets.status import StatusMemory, dataset_status
from ..semantic_focus.datasets.thumbnails import region_layer, thumbnail
from ..semantic_focus.datasets.turns import Turns, Waits
from ..semantic_focus.files.text import printable, shortened
from ..semantic_focus.keywords import format_keywords, parse_keywords
from ..semantic_focus.regions.overlay import Colour
from ..semantic_focus.regions.refine import REFINEMENTS
from ..semantic_focus.segmenters.protocol import SegmentRequest
from ..semantic_focus.segmenters.table import LazySegmenter
from .paths import folder_to_read, picture_to_read, refusals
from .routes import server_routes
from .segment import weight_folders

Handler = Callable[[web.Request], Awaitable[web.Response]]

SIDES = (192, 1024, 4096)
"""Longer side of a thumbnail, of a picture that is looked at, and of a row of samples."""

THREADS = 2
"""How many thumbnails are made at once, and how many folders are listed; the cores belong to ComfyUI."""

MOST_ENTRIES, MOST_SECONDS = 100_000, 5.0
"""Files and folders that a list is made of, and how long they are looked for."""

OWN_SITE = ("same-origin", "none")
"""What a browser says of a request by ComfyUI's own page, and of an address that the user has typed."""

FOREVER = "private, max-age=31536000, immutable"
"""For addresses with a stamp in them: a changed file gets another one."""

BYTES = "application/octet-stream"
"""Type of a body that is no JSON."""

MOST_FOLDERS = 1000
"""Listed folders that thumbnails are given from."""


@dataclass(frozen=True)
class Question:
    """What a list is asked for."""

    folder: str
    recursive: bool
    backend: str
    refine: str
    keywords: str
    keep_overlaps: bool

    @staticmethod
    def of(body: Mapping[str, Any]) -> "Question":
        return Question(
            text_of(body, "folder"),
            bool(body.get("recursive", False)),
            text_of(body, "backend", "auto"),
            text_of(body, "refine", "fast"),
            text_of(body, "keywords", format_keywords(SegmentRequest().prompts)),
            bool(body.get("keep_overlaps", False)),
        )


@dataclass(frozen=True)
class Answer:
    """A list: the folder's name, and the JSON that is sent."""

    folder: str
    content: bytes


class ListedFolders:
    """The folders that were listed, by the names that the answers gave them; the latest ones."""

    def __init__(self):
        self._names: OrderedDict[str, None] = OrderedDict()

    def add(self, name: str) -> None:
        self._names[name] = None
        self._names.move_to_end(name)
        while len(self._names) > MOST_FOLDERS:
            self._names.popitem(last=False)

    def __contains__(self, name: str) -> bool:
        if name in self._names:
            self._names.move_to_end(name)
        return name in self._names


def register(listed: ListedFolders) -> None:
    """Make the server answer; to be called while it loads its nodes. Without a server, nothing happens."""
    if (routes := server_routes()) is None:
        return
    thumbnails = ThreadPoolExecutor(THREADS, "thumbnails")
    turns: Turns[Answer] = Turns(ThreadPoolExecutor(THREADS, "listings"))
    routes.post("/semantic_focus/dataset")(answering(partial(list_dataset, StatusMemory(), turns, listed)))
    routes.post("/semantic_focus/caption")(answering(partial(send_caption, thumbnails)))
    routes.post("/semantic_focus/caption/save")(answering(partial(save_caption, thumbnails, listed)))
    routes.post("/semantic_focus/caption/trigger")(answering(partial(put_trigger, thumbnails, listed)))
    routes.get("/semantic_focus/thumbnail")(answering(partial(send_thumbnail, thumbnails, listed)))


def answering(handler: Handler) -> Handler:
    """A handler that does not hear other sites, and whose exceptions become refusals."""

    async def answer(request: web.Request) -> web.Response:
        if _is_of_another_site(request):
            return wrong("these answers are for ComfyUI's own pages", 403)
        try:
            return await handler(request)
        except FileNotFoundError as error:
            return wrong(error, 404)
        except (ValueError, OSError) as error:
            return wrong(error, 400)

    return answer


def _is_of_another_site(request: web.Request) -> bool:
    """What the browser says, unless the operator lets other sites ask."""
    site, origin = request.headers.get("Sec-Fetch-Site", OWN_SITE[0]), request.headers.get("Origin")
    return not args.enable_cors_header and (site not in OWN_SITE or origin == "null")


def wrong(error: Exception | str, status: int = 200) -> web.Response:
    """What is wrong, in a sentence."""
    return web.json_response(
        {"error": printable(error)}, status=status, headers={"Cache-Control": "no-store"}
    )


async def json_body(request: web.Request) -> Mapping[str, Any]:
    """The object that a request brings; ValueError where it brings none."""
    if request.content_type != "application/json":
        raise ValueError(f"content type {request.content_type!r}: send application/json")
    try:
        body = await request.json()
    except (ValueError, LookupError, RecursionError) as error:  # no JSON, no such encoding, brackets on end
        raise ValueError(f"the body cannot be read as JSON ({error}): send an object") from error
    if not isinstance(body, dict):
        raise ValueError(f"the body is a JSON {type(body).__name__}: send an object")
    return body


async def bytes_body(request: web.Request, most: int, too_long: str) -> bytes:
    """The bytes that a request brings, whose type no form can send; aiohttp unpacks them.

    Raises:
        ValueError: another type; or more than `most` bytes, with `too_long` as its message.
    """
    if (kind := request.headers.get("Content-Type")) != BYTES:
        raise ValueError(f"content type {kind!r}: send {BYTES}")
    parts, length = [], 0
    async for part in request.content.iter_any():
        length += len(part)
        if length > most:
            raise ValueError(too_long)
        parts.append(part)
    return b"".join(parts)


async def list_dataset(
    memory: StatusMemory, turns: Turns[Answer], listed: ListedFolders, request: web.Request
) -> web.Response:
    """{folder, recursive, backend, refine, keywords, keep_overlaps} ->
    {folder, pictures, complete, left_out}.

    Everything but `folder` may be absent. Not complete: some pictures are "unchecked"; asking again goes on.
    `left_out` are sentences about what was not looked at; asking again changes nothing.
    """
    question = Question.of(await json_body(request))
    job = partial(_listing, memory, question)
    try:
        answer = await turns.take(question.folder, repr(question), job, partial(_waits, request))
    except (ValueError, OSError) as error:
        return wrong(error)
    listed.add(answer.folder)
    return web.Response(
        body=answer.content, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _waits(request: web.Request) -> bool:
    """Whether the browser is still there."""
    return request.transport is not None


@no_full_collections()
def _listing(memory: StatusMemory, question: Question, waits: Waits) -> Answer:
    def check() -> None:
        if not waits():
            raise DatasetError(f"{question.folder}: nobody waits for it any more")

    check()
    if question.refine not in REFINEMENTS:
        raise ValueError(f"refine is {question.refine!r}: it must be one of {', '.join(REFINEMENTS)}")
    wanted = SegmentRequest(parse_keywords(question.keywords), question.refine, question.keep_overlaps)
    segmenter = LazySegmenter(question.backend, weight_folders(), table=BACKENDS)
    folder = folder_to_read(question.folder)
    bounds = Bounds(MOST_ENTRIES, MOST_SECONDS, check, refusals())
    listed = list_pictures(folder, question.recursive, bounds)
    pictures = dataset_status(listed, wanted, segmenter, memory, check=check)
    # each by itself: the encoder lets no other thread work until it is done
    content = ", ".join([json.dumps(asdict(picture)) for picture in pictures])
    name, complete = str(folder.resolve()), all(picture.status != "unchecked" for picture in pictures)
    rest = json.dumps({"folder": name, "complete": complete, "left_out": listed.left_out})
    return Answer(name, f'{rest[:-1]}, "pictures": [{content}]}}'.encode())


async def send_caption(pool: ThreadPoolExecutor, request: web.Request) -> web.Response:
    """{folder, name} -> {caption, stamp}; both empty without one."""
    body = await json_body(request)
    loop = asyncio.get_running_loop()
    find = partial(picture_to_read, text_of(body, "folder"), text_of(body, "name"))
    picture = await loop.run_in_executor(pool, find)
    try:
        return _caption(*await loop.run_in_executor(pool, look_at_caption, picture))
    except DatasetError as error:
        return wrong(error)


async def save_caption(pool: ThreadPoolExecutor, listed: ListedFolders, request: web.Request) -> web.Response:
    """{folder, name, caption, stamp} -> as `send_caption`; with conflict, what another program wrote."""
    body = await json_body(request)
    words, stamp = text_of(body, "caption"), text_of(body, "stamp")

    def job(picture: Path) -> web.Response:
        try:
            write_caption(picture, words, stamp)
        except ChangedMeanwhileError:
            return _caption(*look_at_caption(picture), conflict=True)
        return _caption(*look_at_caption(picture))

    return await _beside_picture(pool, listed, body, job)


async def put_trigger(pool: ThreadPoolExecutor, listed: ListedFolders, request: web.Request) -> web.Response:
    """{folder, name, trigger} -> {changed}: whether the word was put before the picture's caption."""
    body = await json_body(request)
    trigger = text_of(body, "trigger")

    def job(picture: Path) -> web.Response:
        return web.json_response({"changed": add_trigger(picture, trigger)})

    return await _beside_picture(pool, listed, body, job)


async def _beside_picture(
    pool: ThreadPoolExecutor,
    listed: ListedFolders,
    body: Mapping[str, Any],
    job: Callable[[Path], web.Response],
) -> web.Response:
    """What a job does beside the picture {folder, name}, if its folder was listed."""
    folder, name = text_of(body, "folder"), text_of(body, "name")
    if folder not in listed:
        return _not_listed(folder)
    loop = asyncio.get_running_loop()
    picture = await loop.run_in_executor(pool, picture_to_read, folder, name)
    try:
        return await loop.run_in_executor(pool, job, picture)
    except (ValueError, OSError, ChangedMeanwhileError) as error:
        return wrong(error)


def _caption(words: str, stamp: str, **more: Any) -> web.Response:
    return web.json_response(
        {**more, "caption": words, "stamp": stamp}, headers={"Cache-Control": "no-store"}
    )


def _not_listed(folder: str) -> web.Response:
    return wrong(
        f"{shortened(folder)!r} was not listed since ComfyUI started: refresh the list of pictures", 403
    )


async def send_thumbnail(
    pool: ThreadPoolExecutor, listed: ListedFolders, request: web.Request
) -> web.Response:
    """?folder=&name=&stamp=&side=&layer=&colours= -> a JPEG; with layer=regions a PNG to lay over it.

    The folder is named as a list named it, see `ListedFolders`; any other is refused, and so are other sites.
    `colours` are the user's own, as face:ff0000,hair:00ff00. With a stamp, the answer is kept for good.
    """
    # request.query knows only names that are UTF-8
    query = dict(parse_qsl(request.rel_url.raw_query_string, errors="surrogateescape"))
    folder = query.get("folder", "")
    if folder not in listed:
        return _not_listed(folder)
    side = query.get("side", str(SIDES[0]))
    if side not in map(str, SIDES):
        raise ValueError(f"side is {side!r}: it must be one of {', '.join(map(str, SIDES))}")
    colours = parse_colours(query.get("colours", ""))
    loop = asyncio.get_running_loop()
    picture = await loop.run_in_executor(pool, picture_to_read, folder, query.get("name", ""))

    def draw() -> tuple[bytes, str]:
        if not _waits(request):  # the browser went on while this waited for its turn
            raise DatasetError(f"{picture}: nobody waits for it any more")
        return _drawn(picture, int(side), query.get("layer") == "regions", colours)

    try:
        content, kind = await loop.run_in_executor(pool, draw)
    except (ValueError, OSError) as error:
        return wrong(error)
    keep = FOREVER if query.get("stamp") else "no-store"
    return web.Response(body=content, content_type=kind, headers={"Cache-Control": keep})


def _drawn(picture: Path, side: int, regions: bool, colours: Mapping[str, Colour]) -> tuple[bytes, str]:
    """A thumbnail or its regions, and the type of file that it is."""
    buffer = io.BytesIO()
    if regions:
        region_layer(picture, side, colours).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), "image/png"
    thumbnail(picture, side).save(buffer, "JPEG", quality=85)
    return buffer.getvalue(), "image/jpeg"


def parse_colours(text: str) -> dict[str, Colour]:
    """The colours of ``face:ff0000,hair:00ff00``; none for an empty text.

    Raises:
        ValueError: something that is no colour.
    """
    colours = {}
    for part in filter(None, text.split(",")):
        name, _, digits = part.rpartition(":")
        try:
            red, green, blue = bytes.fromhex(digits)
        except ValueError:
            raise ValueError(f"colour {part!r}: write name:rrggbb, as in face:ff0000") from None
        colours[name] = (red, green, blue)
    return colours


def text_of(body: Mapping[str, Any], name: str, default: str = "") -> str:
    """A text of a request; ValueError where it is something else."""
    value = body.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name} is a JSON {type(value).__name__}: it must be a text")
    return value
