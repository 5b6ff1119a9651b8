"""Start a real ComfyUI with this checkout as its only custom node, and talk to it over HTTP.

As a command: `.venv/bin/python host/serve.py [--port 8188]`; in tests and the demo:

    with ComfyServer(folder) as server:
        history = server.run(prompt)

This file stands alone (standard library only), so that it can be loaded from its path.
"""

import argparse
import functools
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
PACK = "ComfyUI-SemanticFocus"
"""The name of the pack's folder under custom_nodes, whatever this checkout's own folder is called."""


class ServerError(RuntimeError):
    """ComfyUI could not be started, died, or does not answer."""


class PromptRejected(RuntimeError):
    """ComfyUI did not accept a prompt: an unknown node, a missing input, a value outside its range."""


class PromptFailed(RuntimeError):
    """A node raised while the prompt ran: `node_id`, `node_type`, and its message as `exception`."""

    def __init__(self, message: str, node_id: str, node_type: str, exception: str):
        super().__init__(message)
        self.node_id = node_id
        self.node_type = node_type
        self.exception = exception


class PromptInterrupted(RuntimeError):
    """The prompt was cancelled before it ended."""


def comfyui_folder() -> Path:
    """The ComfyUI to run: the one COMFYUI_PATH names, else the one that `make setup` unpacked."""
    own = os.environ.get("COMFYUI_PATH")
    return Path(own).expanduser().resolve() if own else CHECKOUT / ".cache" / "comfyui"


def environment_python() -> Path:
    """The Python of the environment that `make setup` made."""
    return CHECKOUT / ".venv" / "bin" / "python"


class ComfyServer:
    """A running ComfyUI; it answers from the moment the object exists until `close`.

    Models, input, output and the log are in `base_directory`. The user directory (open panels, settings) is
    a fresh one unless `user_directory` is given. `port=0` takes a free port. The folders `extra_custom_nodes`
    are loaded beside the pack; `front_end_root` serves another graph editor; `arguments` go to ComfyUI.

    Raises:
        ServerError: ComfyUI is not there, did not start within `start_timeout` seconds, or the port is taken.
    """

    def __init__(
        self,
        base_directory: Path,
        port: int = 0,
        *,
        extra_custom_nodes: Sequence[Path] = (),
        front_end_root: Path | None = None,
        user_directory: Path | None = None,
        arguments: Sequence[str] = (),
        start_timeout: float = 180,
    ):
        self.base_directory = Path(base_directory).resolve()
        self.port = _claim_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.base_directory / f"comfyui-{self.port}.log"
        custom_nodes = {PACK: CHECKOUT, **{Path(folder).name: Path(folder) for folder in extra_custom_nodes}}
        _furnish(self.base_directory, custom_nodes)
        if user_directory is None:
            user_directory = Path(tempfile.mkdtemp(prefix="user-", dir=self.base_directory))
        user_directory.mkdir(parents=True, exist_ok=True)
        self.user_directory = user_directory.resolve()
        command = _command(
            self.base_directory, self.port, user_directory, tuple(custom_nodes), front_end_root
        )
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *arguments, *(() if "--cpu" in arguments else _device_arguments())],
                cwd=comfyui_folder(),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._await_answer(start_timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ComfyServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def queue(self, prompt: Mapping[str, Any]) -> str:
        """Queue a prompt in API form; its id.

        Raises:
            PromptRejected: with every complaint of the server's validation.
        """
        try:
            answer = self._json("/prompt", {"prompt": prompt})
        except urllib.error.HTTPError as error:
            raise PromptRejected(_rejection(error.read())) from error
        if answer.get("node_errors"):
            raise PromptRejected(_rejection(json.dumps(answer).encode()))
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 600) -> dict[str, Any]:
        """Wait until a prompt has ended; its history entry ("outputs" by node id, "status").

        Raises:
            PromptFailed: a node raised.
            PromptInterrupted: it was cancelled.
            TimeoutError: it is still queued or running after `timeout` seconds.
            ServerError: the server died.
        """
        deadline = time.monotonic() + timeout
        while True:
            entry = self._json(f"/history/{prompt_id}").get(prompt_id)
            if entry:
                _raise_failure(entry)
                return entry
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"prompt {prompt_id} has not ended after {timeout:g} s; it is still queued or running. "
                    f"Last lines of {self.log}:\n{self._log_end()}"
                )
            time.sleep(0.1)

    def run(self, prompt: Mapping[str, Any], timeout: float = 600) -> dict[str, Any]:
        """`queue`, then `wait`."""
        return self.wait(self.queue(prompt), timeout)

    @property
    def process_id(self) -> int:
        """Of the server."""
        return self._process.pid

    def is_busy(self) -> bool:
        """Whether a prompt runs or waits."""
        return any(self._json("/queue").values())

    def interrupt(self) -> None:
        """Cancel the prompt that is running."""
        self._request("/interrupt", {})

    def free(self) -> None:
        """Unload all models and forget all results, before the next but one prompt at the latest."""
        self._request("/free", {"unload_models": True, "free_memory": True})

    def object_info(self, node_id: str | None = None) -> dict[str, Any]:
        """What the server knows about all its nodes, or about one (empty when it does not know it)."""
        return self._json("/object_info" + (f"/{node_id}" if node_id else ""))

    def view(self, file: Mapping[str, str]) -> bytes:
        """The content of a file that a node reported: `file` has "filename", "subfolder" and "type"."""
        return self._request("/view?" + urllib.parse.urlencode(file))

    def wait_closed(self) -> int:
        """Wait until the server ends by itself; its exit status."""
        return self._process.wait()

    def close(self) -> None:
        """Stop the server and everything it started."""
        for kind, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(self._process.pid, kind)
            except ProcessLookupError:
                break
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()

    def _await_answer(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._request("/system_stats")
                return
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"ComfyUI does not answer on {self.url} after {timeout:g} s. "
                        f"Last lines of {self.log}:\n{self._log_end()}"
                    ) from error

    def _json(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return json.loads(self._request(path, body))

    def _request(self, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with _DIRECT.open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException) as error:
            try:
                status = self._process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                raise error from None
            raise ServerError(
                f"ComfyUI has ended (status {status}). Last lines of {self.log}:\n{self._log_end()}"
            ) from error

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy of the surroundings must not stand between us and our own machine."""


def _claim_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServerError(f"cannot listen on port {port} ({error.strerror}): choose another") from error
        return probe.getsockname()[1]


def _furnish(base: Path, custom_nodes: Mapping[str, Path]) -> None:
    """Make the folders ComfyUI expects, with links to the custom nodes."""
    for name in ("models", "custom_nodes", "input", "output", "temp"):
        (base / name).mkdir(parents=True, exist_ok=True)
    for name, folder in custom_nodes.items():
        link = base / "custom_nodes" / name
        if link.is_symlink():
            link.unlink()
        elif link.exists():
            raise ServerError(f"{link} is in the way of a link to {folder}: move it away")
        link.symlink_to(folder.resolve(), target_is_directory=True)


def _command(
    base: Path, port: int, user: Path, custom_nodes: Sequence[str], front_end_root: Path | None
) -> list[str]:
    main, python = comfyui_folder() / "main.py", environment_python()
    if not main.is_file():
        way_out = "correct COMFYUI_PATH" if os.environ.get("COMFYUI_PATH") else "run `make setup`"
        raise ServerError(f"there is no ComfyUI at {main.parent} (no main.py): {way_out}")
    if not python.exists():
        raise ServerError(f"there is no environment at {python}: run `make setup`")
    command = [str(python), "-u", str(main), "--listen", "127.0.0.1", "--port", str(port)]
    command += ["--base-directory", str(base), "--user-directory", str(user.resolve())]
    command += ["--database-url", "sqlite:///:memory:", "--disable-auto-launch", "--disable-api-nodes"]
    command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", *custom_nodes]
    if front_end_root is not None:
        if not (front_end_root / "index.html").is_file():
            raise ServerError(f"no index.html in {front_end_root}: `make setup` makes .cache/front-end")
        command += ["--front-end-root", str(front_end_root.resolve())]
    return command


def _environment() -> dict[str, str]:
    """Our own environment without PYTHONPATH: the pack's `nodes` on it would hide ComfyUI's.

    Idle threads of torch sleep instead of spinning, because in tests a browser shares the cores with the
    server.
    """
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {"OMP_WAIT_POLICY": "PASSIVE", **own}


@functools.cache
def _device_arguments() -> tuple[str, ...]:
    """`--cpu` when torch sees no accelerator: ComfyUI does not start on such a machine without it."""
    question = "import torch; print(torch.accelerator.is_available())"
    answer = subprocess.run(
        [environment_python(), "-c", question],
        env=_environment(),
        capture_output=True,
        text=True,
        cwd=comfyui_folder(),
    )
    if answer.returncode:
        raise ServerError(f"torch does not import: run `make setup`.\n{answer.stderr.strip()}")
    return () if answer.stdout.strip() == "True" else ("--cpu",)


def _rejection(body: bytes) -> str:
    """What ComfyUI's validation says, one complaint per line."""
    try:
        answer = json.loads(body)
    except ValueError:
        return f"ComfyUI rejected the prompt: {body[:2000].decode(errors='replace')}"
    error = answer.get("error") or {}
    if not isinstance(error, dict):
        error = {"message": str(error)}
    summary = f"{error.get('message', 'some outputs are invalid')} {error.get('details', '')}"
    lines = [f"ComfyUI rejected the prompt: {summary}"]
    for node_id, node in (answer.get("node_errors") or {}).items():
        for complaint in node["errors"]:
            why = f"{complaint['message']}: {complaint['details']}"
            lines.append(f"  node {node_id} ({node['class_type']}): {why}")
    return "\n".join(line.rstrip() for line in lines)


def _raise_failure(entry: Mapping[str, Any]) -> None:
    status = entry.get("status") or {}
    for event, data in status.get("messages", ()):
        if event == "execution_interrupted":
            raise PromptInterrupted(f"cancelled in node {data['node_id']} ({data['node_type']})")
        if event == "execution_error":
            exception = data["exception_message"].strip()
            raise PromptFailed(
                f"node {data['node_id']} ({data['node_type']}) raised {data['exception_type']}: {exception}\n"
                + "".join(data["traceback"]),
                data["node_id"],
                data["node_type"],
                exception,
            )
    if status.get("status_str") == "error":
        raise PromptFailed("the prompt failed before a node ran: see the server's log", "", "", "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: serve until Ctrl+C; models, pictures and settings stay in the base directory."""
    parser = argparse.ArgumentParser(description=main.__doc__, epilog="Other arguments go to ComfyUI.")
    parser.add_argument("--port", type=int, default=8188, help="0 takes a free one (default: %(default)s)")
    folder = CHECKOUT / ".cache" / "serve"
    parser.add_argument("--base-directory", type=Path, default=folder, help="(default: %(default)s)")
    options, passed_on = parser.parse_known_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("starting ComfyUI ...", flush=True)
    try:
        base = options.base_directory
        with ComfyServer(base, options.port, user_directory=base / "user", arguments=passed_on) as server:
            print(f"ComfyUI with {PACK}: {server.url}   (log: {server.log}; Ctrl+C stops it)", flush=True)
            return server.wait_closed()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
