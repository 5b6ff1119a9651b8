"""The six TFLite networks: found, checked, loaded once, run one picture at a time."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from ...files.command_lines import to_install, to_run
from ..damage import damage
from ..protocol import MissingWeightsError
from ..runtimes import broken, is_installed
from . import weights
from .taps import INNER, with_outputs

MAX_THREADS = 4
OPENCV = ("resize", "convertScaleAbs", "__version__")
"""What is used of it, of which a half removed one has nothing."""

FITTED = Path(__file__).with_name("parts.safetensors")
"""The networks of our own, see `parts.py`."""
REVISION = 3
"""Raised with every change of what is made of the networks' output: older cached masks are stale then."""


def weights_id() -> str:
    """Names the six files (by their table), our own networks, and what is made of their output."""
    digest = hashlib.sha256("".join(weight.sha256 for weight in weights.WEIGHTS).encode())
    digest.update(FITTED.read_bytes())
    return f"{weights.WHEEL} sha256:{digest.hexdigest()[:16]} revision {REVISION}"


class Network:
    """One TFLite network. Calls from several threads wait for each other.

    `inner` are the tensors that `taps.with_outputs` added to its outputs, in the order of `taps.INNER`.
    """

    def __init__(self, interpreter: Any, inner: Sequence[int] = ()):
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._input = interpreter.get_input_details()[0]["index"]
        outputs = [output["index"] for output in interpreter.get_output_details()]
        self._outputs, self._inner = outputs[: len(outputs) - len(inner)], tuple(inner)
        self._lock = Lock()

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """Run on Float[S, S, 3]; the outputs in the order of the file, with their leading 1."""
        return self._run(picture, self._outputs)

    def inner(self, picture: np.ndarray) -> list[np.ndarray]:
        """Run on Float[S, S, 3]; Float[h, w, C] of each inner tensor."""
        return [tensor[0] for tensor in self._run(picture, self._inner)]

    def _run(self, picture: np.ndarray, tensors: Sequence[int]) -> list[np.ndarray]:
        with self._lock:
            self._interpreter.set_tensor(self._input, picture[None].astype(np.float32))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in tensors]


@dataclass(frozen=True)
class Networks:
    """The six networks."""

    face_near: Network
    face_far: Network
    face_mesh: Network
    pose_detector: Network
    pose_landmarks: Network
    selfie: Network


def runtime_versions() -> dict[str, str]:
    """Versions of what runs the networks, for the provenance of a result."""
    import cv2

    return {"ai_edge_litert": version("ai-edge-litert"), "opencv": cv2.__version__}


def load_networks(folders: Sequence[Path]) -> Networks:
    """Load the networks from the first folder that has each file.

    Raises:
        MissingWeightsError: OpenCV, the TFLite runtime or a weight file is missing, or a file is damaged.
    """
    check(folders)
    from ai_edge_litert.interpreter import Interpreter

    threads = min(MAX_THREADS, torch.get_num_threads())
    networks = []
    for weight in weights.WEIGHTS:
        # the digest first: the numbers of inner tensors hold for this very file
        content, inner = _read(weight, folders), INNER.get(weight.name, ())
        tapped = with_outputs(content, inner) if inner else content
        networks.append(Network(Interpreter(model_content=tapped, num_threads=threads), inner))
    return Networks(*networks)


def check(folders: Sequence[Path]) -> None:
    """Raise MissingWeightsError unless the runtime works and all six files are there, as far as can be told
    without loading them.
    """
    for package in ("ai_edge_litert", "cv2"):
        if not is_installed(package):
            raise _missing_runtime(f"no module named {package!r}")
    for weight in weights.WEIGHTS:
        _find(weight, folders)
    if reason := broken_runtime():
        raise MissingWeightsError(f"segmentation backend 'mediapipe': {reason}")


def broken_runtime() -> str | None:
    """Why OpenCV or the TFLite runtime, which are installed, do not work; None when they do."""
    return broken("cv2", "opencv-python-headless", OPENCV) or broken(
        "ai_edge_litert.interpreter", "ai-edge-litert", ["Interpreter"]
    )


def _missing_runtime(reason: object) -> MissingWeightsError:
    command = to_install("ai-edge-litert", "opencv-python-headless")
    return MissingWeightsError(
        f"segmentation backend 'mediapipe' needs the packages ai-edge-litert and opencv ({reason}). "
        f"Install them into the Python that runs this:{command}"
    )


def _find(weight: weights.WeightFile, folders: Sequence[Path]) -> Path:
    path = weights.find(weight.name, folders)
    if path is None:
        looked = ", ".join(str(folder) for folder in (*folders, weights.default_folder()))
        raise MissingWeightsError(
            f"segmentation backend 'mediapipe': {weight.name} ({weight.size} bytes) is in none of "
            f"{looked}{_seen(weight, folders)}. Fetch it once:{to_run('fetch', 'mediapipe')}"
        )
    return path


def _seen(weight: weights.WeightFile, folders: Sequence[Path]) -> str:
    """What has the name of a weight file and another size."""
    paths = [path for folder in folders if (path := Path(folder) / weight.name).is_file()]
    return "".join(f"; {path} {damage(path) or f'has {path.stat().st_size} bytes'}" for path in paths)


def _read(weight: weights.WeightFile, folders: Sequence[Path]) -> bytes:
    path = _find(weight, folders)
    content = path.read_bytes()
    if not weights.is_intact(content, weight):
        raise MissingWeightsError(
            f"{path} is damaged (its SHA-256 is not {weight.sha256}): "
            f"move it away and fetch it again:{to_run('fetch', 'mediapipe')}"
        )
    return content
