"""The embedded default: small TFLite networks find faces, poses and persons; colours tell parts apart."""

import json
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from ...regions.blocks import persons_kept
from ...regions.large import enlarge_into, kept_as, too_large, trim, worked_on
from ...regions.lighting import lighting
from ...regions.masks import SemanticMasks, partition
from ...regions.refine import RefineSettings, refine
from ..protocol import MissingWeightsError, Segmenter, SegmentRequest, WeightFolders
from . import networks as networks_file
from .networks import Networks, broken_runtime, load_networks, runtime_versions
from .parts import PARTS, find_parts
from .persons import find_persons

FOLDER = "mediapipe"
"""Kind of weight folder that is looked through before the default one."""

LABELS = (*PARTS, "background", "lighting")
"""The categories this backend can find."""

ROWS = 256
"""Rows of a picture that are converted at a time."""
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
        if problem := too_large(images.shape[1], images.shape[2]):
            raise ValueError(f"the picture cannot be segmented: {problem}")
        settings = RefineSettings(mode=request.refine)
        size = (images.shape[1], images.shape[2])
        # not zeros: memory is taken when it is written to, after a picture was worked on
        masks = images.new_empty((len(images), len(labels), *size), dtype=kept_as(size))
        persons, scores = [], []
        for index, image in enumerate(images):
            picture = worked_on(image)
            regions, instances, score = self._segment_one(analysed(eight_bit(image)), picture, settings)
            scores.append(score)
            if "lighting" in labels:
                regions["lighting"] = lighting(picture[None])[0]
            trim(size)
            persons.append(persons_kept(instances.to(images.device), size))
            for channel, label in enumerate(labels):
                nothing = torch.zeros(picture.shape[:2])
                enlarge_into(masks[index, channel : channel + 1], [regions.pop(label, nothing)])
        unsupported = [label for label in labels if label not in LABELS]
        provenance = {
            "backend": self.name,
            "weights": self.weights_id,
            "refine": request.refine,
            "unsupported": ", ".join(unsupported),
            "scores": json.dumps(scores),
            **runtime_versions(),
        }
        return SemanticMasks(masks.clamp_(0, 1), labels, tuple(persons), provenance)

    def _segment_one(
        self, picture: np.ndarray, image: Tensor, settings: RefineSettings
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, float]]:
        """Regions by name, Float[H, W], persons, Float[P, H, W], and the best face's score.

        Args:
            picture: UInt8[h, w, 3] that is analysed. It is made of the whole picture, however large: what is
                found does not depend on the size at which edges are refined.
            image: Float[H, W, 3] on the CPU, whose edges count.
        """
        size = (image.shape[0], image.shape[1])
        regions = {name: torch.zeros(size) for name in PARTS}
        persons = find_persons(self._networks, picture)
        instances = torch.zeros(len(persons), *size)
        if persons:
            found = find_parts(self._networks, picture, persons)
            masks = [person.mask for person in persons]
            # all that follows is at full size: only where somebody is
            small, large = _window(np.max(masks, axis=0), size)
            layers = _enlarged([layer[small] for layer in (*(found[name] for name in PARTS), *masks)], large)
            refined = refine(layers, image[large], settings)
            parts, window = refined[: len(PARTS)], refined[len(PARTS) :]
            if len(persons) > 1:
                window /= window.sum(0).clamp_min_(1)
            union = window.sum(0)
            # edges were refined one by one: hand the persons' pixels out completely, and no others
            parts *= union / parts.sum(0).clamp_min_(1e-6)
            window *= parts.sum(0) / union.clamp_min_(1e-6)
            for name, part in zip(PARTS, parts, strict=True):
                regions[name][large] = part
            instances[(slice(None), *large)] = window
        covered = instances.sum(0)
        faces = [person.face.score for person in persons if person.face]
        return (
            partition(regions, person=covered),
            instances,
            {"face": round(max(faces), 4)} if faces else {},
        )


def eight_bit(image: Tensor) -> np.ndarray:
    """UInt8[H, W, 3] of Float[H, W, 3] in 0..1; more than 1 is 1."""
    import cv2

    pixels = np.empty(tuple(image.shape), np.uint8)
    for row in range(0, len(image), ROWS):
        part = image[row : row + ROWS].detach().float().clamp(0, 1).cpu().contiguous()
        pixels[row : row + ROWS] = cv2.convertScaleAbs(part.numpy(), alpha=255)
    return pixels


def _window(union: np.ndarray, size: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns that persons take, with a margin: in Float[h, w] and in a picture of `size`."""
    small, large = [], []
    for axis, length in enumerate(size):
        taken = np.flatnonzero(union.max(1 - axis) > 0)
        margin = max(4, len(union) // 40)
        first, last = max(0, taken[0] - margin), min(union.shape[axis], taken[-1] + 1 + margin)
        scale = length / union.shape[axis]
        small.append(slice(int(first), int(last)))
        large.append(slice(round(first * scale), max(round(first * scale) + 1, round(last * scale))))
    return (small[0], small[1]), (large[0], large[1])


def analysed(picture: np.ndarray) -> np.ndarray:
    """UInt8[H, W, 3] with its longer side at most ANALYSIS_SIDE."""
    import cv2

    height, width = picture.shape[:2]
    scale = ANALYSIS_SIDE / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(picture)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _enlarged(layers: Sequence[np.ndarray], window: tuple[slice, slice]) -> Tensor:
    """Float[K, H, W] of layers resized to the size of a window."""
    import cv2

    size = (window[1].stop - window[1].start, window[0].stop - window[0].start)
    large = np.empty((len(layers), size[1], size[0]), np.float32)
    for index, layer in enumerate(layers):
        large[index] = cv2.resize(np.ascontiguousarray(layer), size, interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(large)


__all__ = ["LABELS", "MediaPipeSegmenter", "broken_runtime", "load", "missing", "weights_id"]
