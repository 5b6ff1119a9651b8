"""The embedded default: small TFLite networks find faces, poses and persons; colours tell parts apart."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from ...regions.blocks import persons_kept, persons_size
from ...regions.doubts import Doubt, as_field
from ...regions.large import enlarge_into, kept_as, too_large, trim, worked_on
from ...regions.lighting import lighting
from ...regions.masks import SemanticMasks, partition
from ...regions.refine import RefineSettings, refine
from ..protocol import MissingWeightsError, Segmenter, SegmentRequest, WeightFolders
from . import networks as networks_file
from .detect import Face
from .networks import Networks, broken_runtime, load_networks, runtime_versions
from .overlooked import overlooked
from .parts import PARTS
from .persons import find_persons
from .seek import analysed, look_closely
from .upright import find_parts_upright

FOLDER = "mediapipe"
"""Kind of weight folder that is looked through before the default one."""

LABELS = (*PARTS, "background", "lighting")
"""The categories this backend can find."""

ROWS = 256
"""Rows of a picture that are converted at a time."""
TOGETHER = 6
"""Persons whose outlines are refined together; more take too much memory, and come one by one."""


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
        persons, scores, doubts = [], [], []
        for index, image in enumerate(images):
            view, faces = look_closely(self._networks, eight_bit(image))  # of which nothing large is kept
            trim(size)
            picture = worked_on(image)
            found = self._segment_one(view, faces, picture, settings, size)
            regions = found.regions
            scores.append(found.scores)
            doubts.append(found.doubts)
            if "lighting" in labels:
                regions["lighting"] = lighting(picture[None])[0]
            trim(size)
            persons.append(found.persons.to(images.device))
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
            **as_field(doubts),
            **runtime_versions(),
        }
        return SemanticMasks(masks.clamp_(0, 1), labels, tuple(persons), provenance)

    def _segment_one(
        self,
        view: np.ndarray,
        faces: Sequence[Face],
        image: Tensor,
        settings: RefineSettings,
        size: tuple[int, int],
    ) -> "_Found":
        """What is in one picture.

        Args:
            view: UInt8[h, w, 3], all of the picture as it is analysed: what is found does not depend on the
                size at which edges are refined.
            faces: what `look_closely` saw in it.
            image: Float[h, w, 3] on the CPU, whose edges count; regions are of its size.
            size: (H, W), for which the persons are kept.
        """
        regions = {name: torch.zeros(image.shape[:2]) for name in PARTS}
        persons = find_persons(self._networks, view, faces)
        doubts = overlooked(self._networks, view, faces, persons)
        best = max((person.face.score for person in persons if person.face), default=None)
        scores = {} if best is None else {"face": round(best, 4)}
        if not persons:
            kept = persons_kept(torch.zeros(0, *image.shape[:2]), size)
            return _Found(partition(regions, person=regions[PARTS[0]]), kept, scores, doubts)
        found = find_parts_upright(self._networks, view, persons)
        # all that follows is at full size: only where somebody is
        small, large = _window(
            np.max([person.mask for person in persons], axis=0), (image.shape[0], image.shape[1])
        )
        crop = image[large]
        layers = [found[name][small] for name in PARTS]
        masks = [person.mask[small] for person in persons]
        sure = _enlarged([_sureness(layers, masks)], large)[0]
        if len(persons) <= TOGETHER:
            refined = refine(_enlarged([*layers, *masks], large), crop, settings)
            parts, outlines = refined[: len(PARTS)], list(refined[len(PARTS) :])
        else:
            parts = refine(_enlarged(layers, large), crop, settings)
            outlines = [_refined_alone(mask, crop, settings) for mask in masks]
        total = torch.zeros(crop.shape[:2])
        for outline in outlines:
            total += outline
        shares = total.clamp_min(1) if len(persons) > 1 else torch.ones(1)
        union = total / shares
        # edges were refined one by one: hand the persons' pixels out completely, and no others
        parts *= union / parts.sum(0).clamp_min_(1e-6)
        covered = parts.sum(0)
        shares = covered / union.clamp_min_(1e-6) / shares
        for name, part in zip(PARTS, parts, strict=True):
            regions[name][large] = part * sure
        kept = torch.empty(len(persons), *persons_size(size), dtype=kept_as(size))
        alone = torch.zeros(1, *image.shape[:2])
        for into, outline in zip(kept, outlines, strict=True):
            alone[(0, *large)] = outline * shares
            into.copy_(persons_kept(alone, size)[0])
        everybody = torch.zeros(image.shape[:2])
        everybody[large] = covered
        shared = partition(regions, person=everybody)
        # what no part is sure of is nobody's: the background of a picture is not a place for guesses either
        shared["background"] = 1 - everybody
        return _Found(shared, kept, scores, doubts)


@dataclass(frozen=True)
class _Found:
    """Regions by name, Float[h, w], persons [P, H, W] as they are kept, scores and doubts of one picture."""

    regions: dict[str, Tensor]
    persons: Tensor
    scores: dict[str, float]
    doubts: list[Doubt]


def _sureness(parts: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
    """Float[h, w]: the share of the persons' Float[h, w] that is handed out to parts; 1 where nobody is."""
    union = np.clip(np.sum(masks, axis=0), 1e-3, 1)
    return np.where(union > 0.02, np.clip(np.sum(parts, axis=0) / union, 0, 1), 1).astype(np.float32)


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


def _refined_alone(mask: np.ndarray, image: Tensor, settings: RefineSettings) -> Tensor:
    """[H, W] of one person's Float[h, w], in half precision, refined only where the person is."""
    size = (image.shape[0], image.shape[1])
    small, large = _window(mask, size)
    result = torch.zeros(size, dtype=torch.float16)
    result[large] = refine(_enlarged([mask[small]], large), image[large], settings)[0].half()
    return result


def _enlarged(layers: Sequence[np.ndarray], window: tuple[slice, slice]) -> Tensor:
    """Float[K, H, W] of layers resized to the size of a window."""
    import cv2

    size = (window[1].stop - window[1].start, window[0].stop - window[0].start)
    large = np.empty((len(layers), size[1], size[0]), np.float32)
    for index, layer in enumerate(layers):
        large[index] = cv2.resize(np.ascontiguousarray(layer), size, interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(large)


__all__ = ["LABELS", "MediaPipeSegmenter", "analysed", "broken_runtime", "load", "missing", "weights_id"]
