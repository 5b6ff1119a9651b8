"""The embedded default: small TFLite networks find faces, poses and persons; colours tell parts apart."""

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from ...lighting import lighting
from ...masks import SemanticMasks, partition
from ...refine import RefineSettings, refine
from .. import MissingWeightsError, Segmenter, SegmentRequest, WeightFolders
from . import networks as networks_file
from .networks import Networks, load_networks, runtime_versions
from .parts import PARTS, find_parts
from .persons import find_persons

FOLDER = "mediapipe"
"""Kind of weight folder that is looked through before the default one."""

LABELS = (*PARTS, "background", "lighting")
"""The categories this backend can find."""

ANALYSIS_SIDE = 768
"""Pictures are analysed at this longer side; only the edges are refined at full size."""


def missing(folders: WeightFolders = MappingProxyType({})) -> str | None:
    """What keeps the networks from being loaded, and what to do about it; None when nothing does."""
    try:
        networks_file.check(folders.get(FOLDER, ()))
    except MissingWeightsError as error:
        return str(error)
    return None


def weights_id(folders: WeightFolders = MappingProxyType({})) -> str:
    """Names the six files and what is made of them; it does not depend on where they lie."""
    return networks_file.weights_id()


def load(folders: WeightFolders = MappingProxyType({}), device: str = "cpu") -> Segmenter:
    """Load the networks once; they run on the CPU whatever the device.

    Raises:
        MissingWeightsError: runtime or weights are not on this machine.
    """
    return MediaPipeSegmenter(load_networks(folders.get(FOLDER, ())))


class MediaPipeSegmenter:
    """Finds persons and their face, hair, clothing and bare skin on the CPU, without text prompts."""

    name = "mediapipe"
    weights_id = networks_file.weights_id()
    modules: Sequence[nn.Module] = ()

    def __init__(self, networks: Networks):
        self._networks = networks

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        """Masks of every picture; categories it does not know are zeros, and named in the provenance.

        Args:
            images: Float[B, H, W, 3] in 0..1, sRGB.
            request: categories and refinement; words, thresholds and `keep_overlaps` make no difference.
        """
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images must be [B, H, W, 3], got shape {list(images.shape)}")
        labels = request.labels
        settings = RefineSettings(mode=request.refine)
        masks = images.new_zeros((len(images), len(labels), *images.shape[1:3]), dtype=torch.float32)
        persons = []
        for index, image in enumerate(images):
            regions, instances = self._segment_one(image, settings)
            persons.append(instances.to(images.device))
            if "lighting" in labels:
                regions["lighting"] = lighting(image[None])[0]
            for channel, label in enumerate(labels):
                if label in regions:
                    masks[index, channel] = regions[label]
        unsupported = [label for label in labels if label not in LABELS]
        provenance = {
            "backend": self.name,
            "weights": self.weights_id,
            "refine": request.refine,
            "unsupported": ", ".join(unsupported),
            **runtime_versions(),
        }
        return SemanticMasks(masks.clamp_(0, 1), labels, tuple(persons), provenance)

    def _segment_one(self, image: Tensor, settings: RefineSettings) -> tuple[dict[str, Tensor], Tensor]:
        """Regions by name, Float[H, W], and persons, Float[P, H, W], of one Float[H, W, 3]."""
        size = (image.shape[0], image.shape[1])
        picture = _shrunk((image.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy())
        persons = find_persons(self._networks, picture)
        if not persons:
            nothing = torch.zeros(size)
            return partition({name: nothing for name in PARTS}), torch.zeros(0, *size)
        found = find_parts(picture, persons)
        layers = _enlarged([*(found[name] for name in PARTS), *(person.mask for person in persons)], size)
        refined = refine(layers, image.detach().float().cpu(), settings)
        parts, instances = refined[: len(PARTS)], refined[len(PARTS) :]
        instances = instances / instances.sum(0).clamp_min(1)
        union = instances.sum(0)
        # edges were refined part by part: hand the person's pixels out completely
        parts = parts * (union / parts.sum(0).clamp_min(1e-6))
        return partition(dict(zip(PARTS, parts, strict=True)), person=union), instances


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """UInt8[H, W, 3] with its longer side at most ANALYSIS_SIDE."""
    import cv2

    height, width = picture.shape[:2]
    scale = ANALYSIS_SIDE / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(picture)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _enlarged(layers: Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
    """Float[K, H, W] of layers resized to (height, width)."""
    import cv2

    large = [cv2.resize(layer, size[::-1], interpolation=cv2.INTER_LINEAR) for layer in layers]
    return torch.from_numpy(np.stack(large).astype(np.float32))


__all__ = ["LABELS", "MediaPipeSegmenter", "load", "missing", "weights_id"]
