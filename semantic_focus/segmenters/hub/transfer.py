"""One file from the hub into a part file: goes on where it stopped, and is checked when it is whole."""

import errno
import hashlib
import os
import shutil
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ...files.writing import NotWrittenError
from ..runtimes import is_installed
from .errors import CancelledError, FetchError, amount
from .listing import HubFile, denied, unreachable

CHUNK = 1 << 20
"""Bytes that are read, hashed and written at a time."""
SPARE = 64 << 20
"""Bytes that stay free on a disk."""


@dataclass(frozen=True)
class Patience:
    """How long a silent connection is waited for, and how often one that broke is tried again in vain."""

    seconds: float = 30.0
    tries: int = 3
    rest: float = 1.0


@dataclass(frozen=True)
class Transfer:
    """The way of one model's files.

    Attributes:
        name: in the table of models.
        headers: who asks; they are told to the hub, and to nobody that it sends on to.
        told: called with the number of bytes that are new on the disk, negative where they were thrown away.
        is_cancelled: asked between two chunks.
    """

    name: str
    headers: Mapping[str, str]
    told: Callable[[int], None]
    is_cancelled: Callable[[], bool]
    patience: Patience = Patience()

    def fetch(self, url: str, file: HubFile, part: Path) -> None:
        """Make `part` the whole file, whatever of it is there already.

        Raises:
            FetchError: it did not come, or is not what it should be; `part` keeps what is right of it.
        """
        fruitless = 0
        while (here := _size(part)) < file.size:
            try:
                self._go_on(url, file, part, here)
            except (OSError, HTTPException) as error:
                fault = self._fault(error, file, part)
            else:
                fault = None
            if (now := _size(part)) >= file.size:
                break
            fruitless = 0 if now > here else fruitless + 1
            if fault and fault.kind not in ("stalled", "offline"):
                raise fault
            if fruitless >= self.patience.tries or (fault and fault.kind == "stalled" and now == here):
                raise fault or self._cut(file, part, fruitless)
            self._rest()
        self._check(file, part)

    def _go_on(self, url: str, file: HubFile, part: Path, start: int) -> None:
        """Append what comes, until all has or the connection ends."""
        request = urllib.request.Request(url, headers=dict(self.headers))
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            with _opener().open(request, timeout=self.patience.seconds) as answer:
                if start and not _goes_on_at(answer, start, file.size):
                    start = 0
                self._take(answer, file, part, start)
        except HTTPError as error:
            if error.code == 416:  # it is shorter now: from the beginning
                self._throw_away(part)
                return
            raise self._refused(error, file) from error

    def _take(self, answer: IO[bytes], file: HubFile, part: Path, start: int) -> None:
        self._check_room(part, file.size - start)
        if not start:
            self._throw_away(part)
        with part.open("ab") as stream:
            while start < file.size:
                if self.is_cancelled():
                    raise CancelledError(self.name)
                chunk = answer.read1(CHUNK)  # pyright: ignore[reportAttributeAccessIssue]
                if not chunk:
                    return
                chunk = chunk[: file.size - start]
                try:
                    stream.write(chunk)
                    stream.flush()
                except OSError as error:
                    raise self._unwritable(error, part, file.size - start) from error
                start += len(chunk)
                self.told(len(chunk))

    def _check_room(self, part: Path, needed: int) -> None:
        free = shutil.disk_usage(part.parent).free
        if free < needed + SPARE:
            raise self._full(part, needed, free)

    def _full(self, part: Path, needed: int, free: int) -> FetchError:
        return FetchError(
            "full", self.name, needed=amount(needed), place=part.parent.parent, free=amount(free)
        )

    def _unwritable(self, error: OSError, part: Path, needed: int) -> FetchError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._full(part, needed, shutil.disk_usage(part.parent).free)
        return FetchError("unwritable", self.name, error=NotWrittenError(part, error))

    def _throw_away(self, part: Path) -> None:
        if size := _size(part):
            part.unlink()
            self.told(-size)

    def _check(self, file: HubFile, part: Path) -> None:
        """Raise FetchError unless the content is what the hub says, and throw it away then."""
        if not file.size:
            part.touch()
        found = digest_of(part, file.digest, self.is_cancelled)
        if found is None:
            raise CancelledError(self.name)
        if found != file.digest:
            self._throw_away(part)
            shown = {"found": found[:23], "wanted": file.digest[:23]}
            raise FetchError("wrong", self.name, file=file.name, **shown)

    def _fault(self, error: Exception, file: HubFile, part: Path) -> FetchError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            kept = {"kept": amount(_size(part)), "size": amount(file.size)}
            return FetchError("stalled", self.name, seconds=f"{self.patience.seconds:g}", **kept)
        if isinstance(error, URLError | HTTPException | ConnectionError):
            return unreachable(self.name, error) if not _size(part) else self._cut(file, part, 1)
        if isinstance(error, OSError) and error.errno:
            return self._unwritable(error, part, file.size - _size(part))
        return FetchError("unknown", self.name, error=error)

    def _cut(self, file: HubFile, part: Path, times: int) -> FetchError:
        kept = {"kept": amount(_size(part)), "size": amount(file.size)}
        return FetchError("cut", self.name, times=max(1, times), **kept)

    def _refused(self, error: HTTPError, file: HubFile) -> FetchError:
        if error.code in (401, 403):
            return denied(self.name, error.code, error.headers.get("X-Error-Code", ""))
        if error.code == 404:
            return FetchError("gone", self.name, what=file.name)
        return FetchError("refused", self.name, status=error.code)

    def _rest(self) -> None:
        until = time.monotonic() + self.patience.rest
        while time.monotonic() < until and not self.is_cancelled():
            time.sleep(min(0.1, self.patience.rest))
        if self.is_cancelled():
            raise CancelledError(self.name)


def digest_of(path: Path, like: str, is_cancelled: Callable[[], bool] = lambda: False) -> str | None:
    """The digest of a file, of the same kind as `like`: "sha256:..." or "git:..."; None when cancelled."""
    kind = like.partition(":")[0]
    found = hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            if is_cancelled():
                return None
            found.update(chunk)
    return f"{kind}:{found.hexdigest()}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _goes_on_at(answer: Any, start: int, size: int) -> bool:
    """Whether an answer is the rest of the file; else it is the whole file, or of another size."""
    return answer.status == 206 and answer.headers.get("Content-Range", "").strip() == (
        f"bytes {start}-{size - 1}/{size}"
    )


def _opener() -> urllib.request.OpenerDirector:
    """Through the proxy of the environment, with the certificates that the other programs here use."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    if not bundle and is_installed("certifi"):
        import certifi

        bundle = certifi.where()
    context = ssl.create_default_context(cafile=bundle or None)
    return urllib.request.build_opener(_Elsewhere(), urllib.request.HTTPSHandler(context=context))


class _Elsewhere(urllib.request.HTTPRedirectHandler):
    """Follows the hub to where a file lies, and tells no other host the token."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if new is not None and (before.scheme, before.netloc) != (after.scheme, after.netloc):
            new.remove_header("Authorization")
            if before.scheme == "https" and after.scheme != "https":
                raise HTTPError(newurl, code, "the hub sends on to an address that is not safe", headers, fp)
        return new

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302
