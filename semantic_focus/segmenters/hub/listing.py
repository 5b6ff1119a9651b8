"""What the hub has of a model: the files of one commit, their sizes and digests."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ...files.text import in_short
from ..model_files import MODELS
from .errors import FetchError, no_client, to_log_in

PUBLIC = "https://huggingface.co"


@dataclass(frozen=True)
class HubFile:
    """One file: its name in the repository, size in bytes, and "sha256:..." or "git:..." of its content."""

    name: str
    size: int
    digest: str

    @property
    def base_name(self) -> str:
        return PurePosixPath(self.name).name


@dataclass(frozen=True)
class Listing:
    """Files of one commit. `url_of(file)` is where one comes from, `headers` who asks."""

    commit: str
    files: tuple[HubFile, ...]
    url_of: Callable[[HubFile], str]
    headers: dict[str, str]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def endpoint() -> str:
    """The hub: the public one, or what HF_ENDPOINT names."""
    return (os.environ.get("HF_ENDPOINT") or PUBLIC).rstrip("/")


def list_model(name: str, seconds: float) -> Listing:
    """What a model of the table needs, as the hub has it now.

    Args:
        seconds: how long to wait for an answer.

    Raises:
        FetchError: no client, no connection, no access, or no such model.
    """
    model = MODELS[name]
    try:
        from huggingface_hub import HfApi, hf_hub_url
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        raise no_client(name) from error
    place = endpoint()
    try:
        info = HfApi(endpoint=place).model_info(model.hub, files_metadata=True, timeout=seconds)
    except Exception as error:  # the client has its own errors and those of two transports, by its version
        raise _why(name, error) from error
    commit = info.sha or "main"
    files = [_file(sibling) for sibling in info.siblings or () if _is_wanted(sibling.rfilename, model.files)]
    known = tuple(file for file in files if file is not None)
    if not known or len(known) < len(files) or not _is_complete(known, model.files):
        raise FetchError("gone", name, what=f"complete {model.hub}")
    return Listing(
        commit,
        known,
        lambda file: hf_hub_url(model.hub, file.name, revision=commit, endpoint=place),
        {str(key): str(value) for key, value in build_hf_headers().items()},
    )


def _is_wanted(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file is one of these, directly in its repository or named in full; none leads elsewhere."""
    if "\\" in name or ".." in name.split("/") or name.startswith("/"):
        return False
    return any(name == pattern or ("/" not in name and fnmatchcase(name, pattern)) for pattern in patterns)


def _is_complete(files: tuple[HubFile, ...], patterns: tuple[str, ...]) -> bool:
    names = {file.name for file in files}
    return all("*" in pattern or pattern in names for pattern in patterns)


def _file(sibling: Any) -> HubFile | None:
    """What the hub says of a file; None where it does not say enough to check it."""
    lfs, size = getattr(sibling, "lfs", None), getattr(sibling, "size", None)
    sha256 = lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", None)
    blob = getattr(sibling, "blob_id", None)
    digest = f"sha256:{sha256}" if sha256 else f"git:{blob}" if blob else ""
    return HubFile(sibling.rfilename, int(size), digest) if size is not None and digest else None


def _why(name: str, error: Exception) -> FetchError:
    kind, status = type(error).__name__, status_of(error)
    if kind == "OfflineModeIsEnabled":
        return FetchError("offline_mode", name)
    if kind == "GatedRepoError":
        return denied(name, status or 403, "GatedRepo")
    if status in (401, 403):
        return denied(name, status, _code_of(error))
    if status == 404:
        return FetchError("gone", name, what=MODELS[name].hub)
    if status is not None:
        return FetchError("refused", name, status=status)
    return unreachable(name, error)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error of the client is about."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _code_of(error: BaseException) -> str:
    headers = getattr(getattr(error, "response", None), "headers", {})
    return str(headers.get("X-Error-Code", ""))


def denied(name: str, status: int, code: str) -> FetchError:
    """An answer 401 or 403: what the user has to do for access.

    Args:
        code: of the hub's header "X-Error-Code".
    """
    token = has_token()
    if status == 401 and token and code != "GatedRepo":
        return FetchError("token", name, command=to_log_in())
    if MODELS[name].gated or code == "GatedRepo":
        kind = "not_granted" if token else "gated"
        return FetchError(kind, name, command=to_log_in())
    if not token and code in ("", "RepoNotFound"):
        return FetchError("gone", name, what=MODELS[name].hub)
    return FetchError("refused", name, status=status)


def has_token() -> bool:
    """Whether this computer has a token of an account at the hub."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        return False
    return bool(get_token())


def unreachable(name: str, error: BaseException) -> FetchError:
    """No connection, or none any more."""
    host = urlsplit(endpoint()).hostname or endpoint()
    reason = getattr(error, "reason", error)
    said = "no such host" if isinstance(reason, socket.gaierror) else in_short(reason)
    return FetchError("offline", name, host=host, error=said)
