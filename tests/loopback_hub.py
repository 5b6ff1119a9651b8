"""A model hub on this computer's loopback, with the public one's endpoints, that can stall, cut and lie."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" * 6 + "beef"


def git_digest(content: bytes) -> str:
    """What git names a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Hub:
    """Repositories by name, each with its files by name; those that end in .safetensors lie elsewhere (LFS).

    Attributes:
        faults: by file, what goes wrong with the next requests for it, in order; after that, nothing.
        about: by repository, the status that the question about it is answered with.
        asked: (path, Range, Authorization) of every request for a file.
        go_on: set to let a stalled request end.
    """

    repositories: dict[str, dict[str, bytes]]
    faults: dict[str, list[str]] = field(default_factory=dict)
    about: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def listing(self, repository: str) -> dict[str, Any]:
        siblings = []
        for name, content in self.repositories[repository].items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_digest(content)}
            if name.endswith(".safetensors"):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        return {"id": repository, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0}

    def fault(self, name: str) -> str:
        due = self.faults.get(name, [])
        return due.pop(0) if due else ""


class Handler(BaseHTTPRequestHandler):
    """Answers of a Hub."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path.startswith("api/models/"):
            self.about(path.removeprefix("api/models/").partition("/revision/")[0])
        elif path.startswith("elsewhere/"):
            _, owner, name, file = path.split("/", 3)
            self.file(f"{owner}/{name}", file)
        else:
            owner, name, _, _, file = path.split("/", 4)
            if file.endswith(".safetensors") and not (self.hub.faults.get(file) or ["x"])[0].isdigit():
                other = self.hub.url.replace("127.0.0.1", "localhost")
                self.answer(302, b"", {"Location": f"{other}/elsewhere/{owner}/{name}/{file}"})
            else:
                self.file(f"{owner}/{name}", file)

    def about(self, repository: str) -> None:
        if status := self.hub.about.get(repository, 0 if repository in self.hub.repositories else 404):
            self.answer(status, b"{}", _code(status))
        else:
            self.answer(200, json.dumps(self.hub.listing(repository)).encode())

    def file(self, repository: str, name: str) -> None:
        span, authorization = self.headers.get("Range", ""), self.headers.get("Authorization", "")
        self.hub.asked.append((self.path, span, authorization))
        fault = self.hub.fault(name)
        if fault.isdigit():
            return self.answer(int(fault), b"no", _code(int(fault)))
        content = self.hub.repositories[repository][name]
        start = int(span.removeprefix("bytes=").rstrip("-") or 0) if fault != "whole" else 0
        if fault == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        body, headers = content[start:], {}
        if start:
            headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.start(206 if start else 200, {**headers, "Content-Length": str(len(body))})
        sent = {"stall": len(body) // 2, "silent": 0, "cut": len(body) * 99 // 100, "empty": 0}.get(fault)
        self.wfile.write(body if sent is None else body[:sent])
        self.wfile.flush()
        if fault in ("stall", "silent"):
            self.hub.go_on.wait(60)
        if sent is not None:
            self.close_connection = True

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.start(status, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _code(status: int) -> dict[str, str]:
    return {"X-Error-Code": "GatedRepo"} if status in (401, 403) else {}


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The hub at `hub.url`, to be given as HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        server.server_close()
