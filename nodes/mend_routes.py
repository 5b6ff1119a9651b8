"""What an editor of masks asks the server: the picture, its regions, and to keep what a person changed.

Security is as in `dataset_routes.py`. All requests are POST, with a content type that no form can send. A
place is what the server itself gave out, see `mendable.py`; bodies are read up to a bound, and no further.
"""

import asyncio
import io
import zlib
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from aiohttp import web

from ..semantic_focus.datasets.mending import (
    ChangedMeanwhileError,
    Mended,
    check_can_keep,
    described,
    layers_of,
    look,
    save,
    take_back,
    working_size,
)
from ..semantic_focus.files.text import parsed_json
from ..semantic_focus.regions.layers import HandLayer
from ..semantic_focus.regions.snap import snapped
from .dataset_routes import BYTES, ListedFolders, answering, bytes_body, json_body, text_of, wrong
from .mendable import Mendable, NotListedError, Places
from .routes import server_routes

THREADS = 2
"""How many requests are worked on at once; the cores belong to ComfyUI."""
MOST_BYTES = 160 << 20
"""Longest body, unpacked: 19 regions of 2048x2048."""
MOST_JSON = 1 << 16
"""Longest JSON in a body of bytes."""
NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Packet:
    """A body of bytes: what its JSON says, and the layers after it."""

    said: Mapping[str, Any]
    content: memoryview

    @staticmethod
    def of(body: bytes) -> "Packet":
        """From a length of four bytes, JSON of that length, and all the rest."""
        length = int.from_bytes(body[:4], "little")
        if len(body) < 4 + length or length > MOST_JSON:
            raise ValueError(f"a body of {len(body)} bytes with {length} of JSON: send all of it")
        try:
            said = parsed_json(body[4 : 4 + length].decode())
        except ValueError as error:
            raise ValueError(f"the head of the body cannot be read as JSON ({error})") from error
        if not isinstance(said, dict):
            raise ValueError(f"the head of the body is a JSON {type(said).__name__}: send an object")
        return Packet(said, memoryview(body)[4 + length :])

    def layers(self, count: int, size: tuple[int, int]) -> np.ndarray:
        """uint8[count, h, w]."""
        if len(self.content) != count * size[0] * size[1]:
            raise ValueError(
                f"{len(self.content)} bytes for {count} layers of {size[1]}x{size[0]}: one for each pixel"
            )
        return np.frombuffer(self.content, np.uint8).reshape(count, *size)


def register(listed: ListedFolders) -> None:
    """Make the server answer; to be called while it loads its nodes. Without a server, nothing happens."""
    if (routes := server_routes()) is None:
        return
    editor = _Editor(Places(listed), ThreadPoolExecutor(THREADS, "mending"))
    for name in ("open", "picture", "layers", "save", "snap", "take_back"):
        handler = getattr(editor, name)
        routes.post(f"/semantic_focus/mend/{name}")(answering(_refusing(handler)))


def _refusing(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except NotListedError as error:
            return wrong(str(error), 403)

    return answer


class _Editor:
    """The handlers."""

    def __init__(self, places: Places, pool: ThreadPoolExecutor):
        self._places, self._pool = places, pool

    async def _in_thread(self, job: Callable[[], web.Response]) -> web.Response:
        """What is wrong with a file is an answer; a place that nobody was given is refused."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, job)
        except FileNotFoundError:
            raise
        except (ValueError, OSError) as error:
            return wrong(error)

    async def open(self, request: web.Request) -> web.Response:
        """{place} -> {width, height, stamp, labels, persons, by_hand, doubts, file}."""
        place = _meant(await json_body(request))

        def job() -> web.Response:
            found = self._places.find(place)
            check_can_keep(found.file)
            return _described(found, look(found.file, found.size, found.start))

        return await self._in_thread(job)

    async def picture(self, request: web.Request) -> web.Response:
        """{place} -> the picture as JPEG."""
        place = _meant(await json_body(request))

        def job() -> web.Response:
            buffer = io.BytesIO()
            self._places.find(place).picture().image.save(buffer, "JPEG", quality=92)
            return web.Response(body=buffer.getvalue(), content_type="image/jpeg", headers=NO_STORE)

        return await self._in_thread(job)

    async def layers(self, request: web.Request) -> web.Response:
        """{place} -> the bytes of `layers_of`, one layer after the other."""
        place = _meant(await json_body(request))
        may_pack = "gzip" in request.headers.get("Accept-Encoding", "")

        def job() -> web.Response:
            found = self._places.find(place)
            mended = look(found.file, found.size, found.start)
            layers = (layer.contiguous().numpy().data for layer in layers_of(mended.masks))
            headers = {**NO_STORE, "X-Semantic-Focus-Stamp": mended.stamp}
            if not may_pack:
                return web.Response(body=b"".join(layers), content_type=BYTES, headers=headers)
            return web.Response(
                body=_packed(layers),
                content_type=BYTES,
                headers={**headers, "Content-Encoding": "gzip"},
            )

        return await self._in_thread(job)

    async def save(self, request: web.Request) -> web.Response:
        """{place, stamp, labels} and for each label values and where they are decided -> as `open`."""
        packet = await _packet(request)
        place, stamp, labels = (
            _meant(packet.said),
            text_of(packet.said, "stamp"),
            _names(packet.said, "labels"),
        )
        if labels is None or len(set(labels)) != len(labels):
            raise ValueError("labels: give a list of names, each once")

        def job() -> web.Response:
            found = self._places.find(place)
            values = packet.layers(2 * len(labels), working_size(found.size))
            sent = {
                label: HandLayer(
                    torch.from_numpy(values[2 * index].astype(np.float32) / 255),
                    torch.from_numpy(values[2 * index + 1] >= 128),
                )
                for index, label in enumerate(labels)
            }
            return _changed(found, partial(save, sent=sent), stamp)

        return await self._in_thread(job)

    async def take_back(self, request: web.Request) -> web.Response:
        """{place, stamp, regions} -> as `open`; of all regions where these are null."""
        body = await json_body(request)
        place, stamp, regions = _meant(body), text_of(body, "stamp"), _names(body, "regions")
        job = partial(self._take_back, place, stamp, regions)
        return await self._in_thread(job)

    def _take_back(self, place: Mapping[str, Any], stamp: str, regions: list[str] | None) -> web.Response:
        return _changed(self._places.find(place), partial(take_back, regions=regions), stamp)

    async def snap(self, request: web.Request) -> web.Response:
        """{place, x, y, width, height} and the values of a region in that window -> its values there."""
        packet = await _packet(request)
        place = _meant(packet.said)
        x, y, width, height = (_number(packet.said, name) for name in ("x", "y", "width", "height"))
        (mask,) = packet.layers(1, (height, width))

        def job() -> web.Response:
            light = self._places.find(place).picture().light
            window = light[y : y + height, x : x + width]
            if window.shape != mask.shape or not mask.size:
                raise ValueError(
                    f"the window {width}x{height} at {x}, {y} is not in the picture of "
                    f"{light.shape[1]}x{light.shape[0]}"
                )
            return web.Response(
                body=snapped(mask, window, min(light.shape)).tobytes(), content_type=BYTES, headers=NO_STORE
            )

        return await self._in_thread(job)


def _changed(found: Mendable, change: Callable[..., Mended], stamp: str) -> web.Response:
    try:
        return _described(found, change(found.file, stamp, found.size, found.start))
    except ChangedMeanwhileError:
        return _described(found, look(found.file, found.size, found.start), conflict=True)


def _described(found: Mendable, mended: Mended, **more: Any) -> web.Response:
    return web.json_response({**more, **described(mended, found.name)}, headers=NO_STORE)


def _packed(layers: Any) -> bytes:
    """gzip; run lengths suit masks."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31, 9, zlib.Z_RLE)
    return b"".join([*map(packer.compress, layers), packer.flush()])


async def _packet(request: web.Request) -> Packet:
    """What a request of bytes brings; aiohttp unpacks it."""
    too_long = f"the body is longer than {MOST_BYTES} bytes: send fewer regions at once"
    return Packet.of(await bytes_body(request, MOST_BYTES, too_long))


def _meant(body: Mapping[str, Any]) -> Mapping[str, Any]:
    place = body.get("place")
    if not isinstance(place, dict):
        raise ValueError(f"place is a JSON {type(place).__name__}: send what came with the picture")
    return place


def _names(body: Mapping[str, Any], field: str) -> list[str] | None:
    names = body.get(field)
    if names is not None and not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
        raise ValueError(f"{field}: give a list of names")
    return names


def _number(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or not 0 <= value <= 1 << 20:
        raise ValueError(f"{name} is {value!r}: give a whole number of pixels")
    return value
