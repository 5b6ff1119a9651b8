"""SAM 2 outlines what a detector has boxed: GroundingDINO by words, or the embedded detector without them.

The largest model of the "sam2" and "sams" folders that has a runtime here is taken; to use a smaller one,
ask for it by its own entry of the backend table ("sam2_tiny").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ..embedded import segmenter as embedded
from ..model_files import fingerprint, missing_message, missing_package
from ..prompted import Instances, PromptedSegmenter
from ..protocol import MissingWeightsError, Segmenter, WeightFolders
from ..runtimes import taken_on_trust
from .grounding import THRESHOLD, Boxes, GroundingDino, find_detector, load_detector
from .in_embedded_boxes import Sam2WithEmbeddedDetector
from .models import SIZES, BoxModel, Sam2Weights, find_weights, load_model, missing_runtime

NAME = "sam2"
MODELS = ("sam2.1-large", "sam2.1-base-plus", "sam2.1-small", "sam2.1-tiny")

REVISION = 1
"""Raised with every change of what is made of the models' output: older cached masks are stale then."""


@dataclass(frozen=True)
class Sam2Backend:
    """The backend's three functions for one size of SAM 2; an empty `size` stands for the largest found."""

    size: str = ""

    def missing(self, folders: WeightFolders = MappingProxyType({})) -> str | None:
        """What keeps SAM 2 from running, and what to do about it; None when nothing does."""
        found = self._found(folders)
        if not found:
            with taken_on_trust():  # nothing is imported for what is not there
                if reason := _no_runtime():
                    return reason
            offered = [f"sam2.1-{self.size.replace('_', '-')}"] if self.size else MODELS
            return missing_message(NAME, [*offered, "grounding-dino-tiny"], folders)
        if _usable(found) is None:
            return _no_runtime(all_of_them=True)
        if _detector(folders) is None and (reason := embedded.missing(folders)):
            return f"{missing_message('sam2: detector', ['grounding-dino-tiny'], folders)}\nor: {reason}"
        return None

    def weights_id(self, folders: WeightFolders = MappingProxyType({})) -> str:
        """Names the SAM 2 and the detector that `load` takes.

        Raises:
            MissingWeightsError: one of them is not there.
        """
        weights, detector = self._chosen(folders)
        boxed_by = embedded.weights_id(folders) if detector is None else fingerprint(detector)
        outlined_by = f"{weights.size} {weights.runtime} {fingerprint(weights.path)}".strip()
        return f"{outlined_by} + {boxed_by} revision {REVISION}"

    def is_fixed(self, folders: WeightFolders = MappingProxyType({})) -> bool:
        """Whether the boxes come from the embedded detector, which reads no words."""
        return _detector(folders) is None

    def load(self, folders: WeightFolders = MappingProxyType({}), device: str = "cpu") -> Segmenter:
        """Load SAM 2, and GroundingDINO or, when there is none, the embedded detector.

        Raises:
            MissingWeightsError: runtime or weights are not on this machine.
            ValueError: the weights are damaged or named after another size.
        """
        weights, detector = self._chosen(folders)
        outliner = load_model(weights, device)
        details = {"size": weights.size or "unknown", "runtime": weights.runtime}
        if detector is None:
            return Sam2WithEmbeddedDetector(outliner, folders, self.weights_id(folders), details)
        words = load_detector(detector, device)
        details["detector"] = detector.name
        return PromptedSegmenter(Sam2WithWords(outliner, words, self.weights_id(folders), details))

    def _found(self, folders: WeightFolders) -> list[Sam2Weights]:
        return [weights for weights in find_weights(folders) if self.size in ("", weights.size)]

    def _chosen(self, folders: WeightFolders) -> tuple[Sam2Weights, Path | None]:
        weights = _usable(self._found(folders))
        reason = self.missing(folders)
        if weights is None or reason:
            raise MissingWeightsError(reason)
        return weights, _detector(folders)


VARIANTS = MappingProxyType({size: Sam2Backend(size) for size in SIZES})
"""The segmenters that take one size only, by size."""

_LARGEST = Sam2Backend()
missing, weights_id, load, is_fixed = _LARGEST.missing, _LARGEST.weights_id, _LARGEST.load, _LARGEST.is_fixed


def _no_runtime(all_of_them: bool = False) -> str | None:
    """Why no runtime, or why some runtimes, cannot be used here."""
    reasons = [missing_runtime(runtime) for runtime in ("transformers", "sam2")]
    return "; or ".join(filter(None, reasons)) if all_of_them or all(reasons) else None


def _usable(found: Sequence[Sam2Weights]) -> Sam2Weights | None:
    return next((weights for weights in found if missing_runtime(weights.runtime) is None), None)


def _detector(folders: WeightFolders) -> Path | None:
    return find_detector(folders) if missing_package(NAME, "transformers") is None else None


class Sam2WithWords:
    """GroundingDINO finds the boxes of all words in one pass, SAM 2 outlines them."""

    name = NAME
    threshold = THRESHOLD

    def __init__(self, outliner: BoxModel, detector: GroundingDino, weights: str, details: Mapping[str, str]):
        self.weights_id, self.details = weights, details
        self.modules: Sequence[nn.Module] = (outliner.module, detector.module)
        self._outliner, self._detector = outliner, detector

    def encode(self, image: Tensor) -> "BoxedPicture":
        """Nothing is run yet: without a box SAM 2 has nothing to do."""
        return BoxedPicture(self._outliner, self._detector, image)


class BoxedPicture:
    """A picture whose image encoding is made once, for the first box."""

    def __init__(self, outliner: BoxModel, detector: GroundingDino, image: Tensor):
        self._outliner, self._detector, self._image = outliner, detector, image

    def find(self, thresholds: Mapping[str, float]) -> dict[str, Instances]:
        """Instances by word; scores are the detector's."""
        found: dict[str, Boxes] = self._detector.detect(self._image, thresholds)
        if not any(len(hits.scores) for hits in found.values()):
            return {word: Instances.none() for word in found}
        masks = self._outliner.encode(self._image).masks(torch.cat([hits.boxes for hits in found.values()]))
        shares = masks.split([len(hits.scores) for hits in found.values()])
        return {
            word: Instances(share, hits.scores)
            for (word, hits), share in zip(found.items(), shares, strict=True)
        }
