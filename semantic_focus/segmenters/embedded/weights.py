"""Weights of the embedded segmenter: which files, where they lie, and how they get there.

This file imports nothing of the package, so that `install.py` can run it before anything is installed.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

WHEEL = "mediapipe==0.10.21"
WHEEL_TAGS = (
    "--platform=manylinux_2_28_x86_64",
    "--python-version=311",
    "--implementation=cp",
    "--abi=cp311",
)
"""One wheel for every machine: it is opened as an archive, never installed."""


class WeightFile(NamedTuple):
    """One network: file name, its folder inside the wheel, size in bytes, SHA-256."""

    name: str
    folder: str
    size: int
    sha256: str


WEIGHTS = (
    WeightFile(
        "face_detection_short_range.tflite",
        "mediapipe/modules/face_detection",
        229714,
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    WeightFile(
        "face_detection_full_range_sparse.tflite",
        "mediapipe/modules/face_detection",
        676746,
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    WeightFile(
        "face_landmark.tflite",
        "mediapipe/modules/face_landmark",
        1242398,
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    WeightFile(
        "pose_detection.tflite",
        "mediapipe/modules/pose_detection",
        2959046,
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    WeightFile(
        "pose_landmark_full.tflite",
        "mediapipe/modules/pose_landmark",
        6440512,
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    WeightFile(
        "selfie_segmentation.tflite",
        "mediapipe/modules/selfie_segmentation",
        249505,
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
)
"""The six networks (Apache-2.0) of the embedded segmenter."""


def default_folder() -> Path:
    """Where `fetch` puts the weights: inside the running Python environment, gone when that is deleted."""
    return Path(sys.prefix) / "share" / "semantic_focus"


def find(name: str, folders: Sequence[Path] = ()) -> Path | None:
    """First file `name` of the right size in `folders`, then in the default folder; None when there is none.

    Raises:
        KeyError: `name` is not in the table.
    """
    expected = {weight.name: weight for weight in WEIGHTS}[name]
    for folder in (*folders, default_folder()):
        path = Path(folder) / name
        if path.is_file() and path.stat().st_size == expected.size:
            return path
    return None


def is_intact(content: bytes, weight: WeightFile) -> bool:
    """Whether `content` is exactly that file of the table."""
    return len(content) == weight.size and hashlib.sha256(content).hexdigest() == weight.sha256


def fetch(folder: Path | None = None) -> Path:
    """Put the six weight files into `folder` (default: `default_folder()`); at once when they are there.

    The pinned wheel comes through pip, with the user's own index, proxy and cache settings. Every file is
    checked against its digest and is either complete or absent.

    Returns:
        The folder.

    Raises:
        RuntimeError: the wheel could not be had, or does not hold the expected files.
        OSError: the folder cannot be written.
    """
    folder = default_folder() if folder is None else Path(folder)
    if not (missing := missing_in(folder)):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as download:
        wheel = _download_wheel(Path(download))
        with zipfile.ZipFile(wheel) as archive:
            for weight in missing:
                _write_atomically(folder / weight.name, _read_member(archive, weight))
    return folder


def missing_in(folder: Path) -> list[WeightFile]:
    """The weight files that `fetch` would put into a folder."""
    return [weight for weight in WEIGHTS if not _is_installed(folder / weight.name, weight)]


def _is_installed(path: Path, weight: WeightFile) -> bool:
    return path.is_file() and path.stat().st_size == weight.size and is_intact(path.read_bytes(), weight)


def _download_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", *WHEEL_TAGS, "--dest", str(folder), WHEEL]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or not wheels:
        reason = "\n".join((result.stderr or result.stdout).strip().splitlines()[-5:]) or "no wheel arrived"
        raise RuntimeError(
            f"could not download {WHEEL} (36 MB, holds the segmenter weights) with pip: {reason}\n"
            "Try again with a network connection; or do it on another machine with --to FOLDER, and copy the "
            f"files from there to {default_folder()}."
        )
    return wheels[0]


def _read_member(archive: zipfile.ZipFile, weight: WeightFile) -> bytes:
    member = f"{weight.folder}/{weight.name}"
    try:
        content = archive.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise RuntimeError(
            f"{archive.filename}: cannot read {member} ({error}). Try again; if it stays so, "
            "check the package index that pip uses."
        ) from error
    if not is_intact(content, weight):
        raise RuntimeError(
            f"{archive.filename}: {member} is not the expected file ({len(content)} bytes, expected "
            f"{weight.size}, SHA-256 {weight.sha256}). It was not written. "
            "Check the package index that pip uses."
        )
    return content


def _write_atomically(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
