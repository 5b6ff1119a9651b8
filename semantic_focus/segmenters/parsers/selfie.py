"""The multi-class selfie network (hair, body skin, face skin, clothes), on the CPU. Opt-in."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...regions.masks import SemanticMasks
from ..compose import Findings, resized, segment_pictures
from ..damage import loading
from ..embedded import segmenter as embedded
from ..model_files import MODELS, find_files, fingerprint, missing_message, missing_package, offers
from ..protocol import MissingWeightsError, Segmenter, SegmentRequest, WeightFolders
from ..runtimes import is_installed
from .labels import EmbeddedPersons, regions, unsupported

NAME = "selfie"
FOLDER = "mediapipe"
MODEL = "selfie-multiclass"
FILE = "selfie_multiclass_256x256.tflite"
SIDE = 256
LABELS = ("background", "hair", "body skin", "face skin", "clothes", "others")
"""The network's classes in its order; "others" are things that are worn."""

REVISION = 1
"""Raised with every change of what is made of the network's output: older cached masks are stale then."""


def missing(folders: WeightFolders = MappingProxyType({})) -> str | None:
    """What keeps the network from being loaded, and what to do about it; None when nothing does."""
    for module, package in (("ai_edge_litert", "ai-edge-litert"), ("cv2", "opencv-python-headless")):
        if not is_installed(module):
            return missing_package(NAME, package)
    return embedded.broken_runtime() if _files(folders) else missing_message(NAME, [MODEL], folders)


def weights_id(folders: WeightFolders = MappingProxyType({})) -> str:
    """Names the file, and whether persons can be told apart.

    Raises:
        MissingWeightsError: it is not there.
    """
    persons = "no persons" if embedded.missing(folders) else embedded.weights_id(folders)
    return f"{fingerprint(_file(folders))} + {persons} revision {REVISION}"


def load(folders: WeightFolders = MappingProxyType({}), device: str = "cpu") -> Segmenter:
    """Load the network; it runs on the CPU whatever the device.

    Raises:
        MissingWeightsError: runtime or weights are not on this machine.
    """
    file = _file(folders)
    with loading(NAME, file, offers([MODEL], folders)):
        network = read_network(file)
    return SelfieParser(network, EmbeddedPersons(folders), weights_id(folders))


def read_network(file: Path) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
    """The network of a file: Float[256, 256, 3] in 0..1 to [Float[1, 256, 256, 6]]."""
    from ai_edge_litert.interpreter import Interpreter

    from ..embedded.networks import Network

    return Network(Interpreter(model_content=file.read_bytes(), num_threads=2))


def _files(folders: WeightFolders) -> list[Path]:
    return find_files(folders, [FOLDER], [".tflite"], lambda name: name == FILE)


def _file(folders: WeightFolders) -> Path:
    if reason := missing(folders):
        raise MissingWeightsError(reason)
    return _files(folders)[0]


class SelfieParser:
    """The loaded network; words make no difference."""

    name = NAME
    modules: Sequence[nn.Module] = ()

    def __init__(self, network: Any, persons: EmbeddedPersons, weights: str):
        self.weights_id = weights
        self._network, self._persons = network, persons

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        """See `Segmenter.segment`; words, exclusions and thresholds make no difference."""
        provenance = {
            "backend": self.name,
            "weights": self.weights_id,
            "licence": MODELS[MODEL].licence,
            "unsupported": unsupported(LABELS, request.labels),
            **self._persons.details,
        }
        return segment_pictures(images, request, lambda picture: self._find(picture, request), provenance)

    def _find(self, picture: Tensor, request: SegmentRequest) -> Findings:
        size = (picture.shape[0], picture.shape[1])
        square = resized(picture.movedim(-1, 0), (SIDE, SIDE)).movedim(0, -1)
        answer = torch.from_numpy(np.ascontiguousarray(self._network(square.numpy())[0][0])).movedim(-1, 0)
        found = regions(as_shares(answer.float()), LABELS, request.labels)
        persons = self._persons.find(picture)
        return Findings(
            {name: resized(layer[None], size)[0] for name, layer in found.items()},
            None if persons is None else resized(persons, size),
            shared_out=True,
        )


def as_shares(answer: Tensor) -> Tensor:
    """Float[C, h, w] that sums to 1 over the classes: as it is, or the softmax when the file gives logits."""
    is_shares = answer.min() >= 0 and bool(((answer.sum(0) - 1).abs() < 1e-2).all())
    return answer if is_shares else answer.softmax(0)
