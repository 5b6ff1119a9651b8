"""SAM 2 with the embedded detector: its boxes of persons and faces, SAM 2's outlines, its parts in them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ...regions.masks import SemanticMasks
from ..compose import Findings, resized, segment_pictures
from ..protocol import SegmentRequest, WeightFolders
from .models import BoxModel

LABELS = ("face", "hair", "clothing", "body", "background", "lighting")
MARGIN = 0.05
"""A person's box is drawn this share of its side larger: the detector's masks end early at hair and feet."""
AGREEMENT = 0.3
"""SAM 2's outline of a person must share this much of its union with the detector's mask to replace it."""


class Sam2WithEmbeddedDetector:
    """Persons, faces, hair, clothing and bare skin; words make no difference."""

    name = "sam2"

    def __init__(self, outliner: BoxModel, folders: WeightFolders, weights: str, details: Mapping[str, str]):
        from ..embedded.networks import load_networks, runtime_versions

        self.weights_id = weights
        self.modules: Sequence[nn.Module] = (outliner.module,)
        self._outliner = outliner
        self._networks = load_networks(folders.get("mediapipe", ()))
        self._details = {**details, "detector": "mediapipe", **runtime_versions()}

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        """Categories that the embedded detector does not know are zeros, and named in the provenance.

        See `Segmenter.segment`; words and thresholds make no difference.
        """
        provenance = {
            "backend": self.name,
            "weights": self.weights_id,
            "unsupported": ", ".join(label for label in request.labels if label not in LABELS),
            **self._details,
        }
        with torch.inference_mode():
            return segment_pictures(images, request, self._find, provenance)

    def _find(self, picture: Tensor) -> Findings:
        from ..embedded.parts import find_parts
        from ..embedded.persons import find_persons
        from ..embedded.segmenter import analysed, eight_bit

        size = (picture.shape[0], picture.shape[1])
        small = analysed(eight_bit(picture))
        persons = find_persons(self._networks, small)
        if not persons:
            return Findings({}, torch.zeros(0, *size))
        boxes = [person_box(person.mask) for person in persons]
        faces = [person.face.outline for person in persons if person.face is not None]
        boxes += [np.concatenate((outline.min(0), outline.max(0))) for outline in faces]
        sides = torch.tensor([small.shape[1], small.shape[0]] * 2)
        shares = (torch.from_numpy(np.stack(boxes)).float() / sides).clamp(0, 1)
        outlines = resized(self._outliner.encode(picture).masks(shares), (small.shape[0], small.shape[1]))
        outlined = [
            replace(person, mask=agreed(person.mask, outline.numpy()))
            for person, outline in zip(persons, outlines, strict=False)
        ]
        parts = {
            name: torch.from_numpy(part) for name, part in find_parts(self._networks, small, outlined).items()
        }
        if faces:
            parts["face"] = _face(parts, outlines[len(persons) :].amax(0))
        regions = {name: resized(part[None].float(), size)[0] for name, part in parts.items()}
        masks = resized(torch.from_numpy(np.stack([person.mask for person in outlined])).float(), size)
        scores = {"face": max((person.face.score for person in persons if person.face), default=0.0)}
        return Findings(regions, masks, scores, shared_out=True)


def _face(parts: Mapping[str, Tensor], outline: Tensor) -> Tensor:
    """The face inside SAM 2's outline of it, where the embedded parts see skin at all; hair stays hair."""
    skin = parts["face"] + parts["body"]
    return torch.minimum(outline, skin) if outline.max() > 0.5 else parts["face"]


def agreed(seen: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """SAM 2's outline of a person, Float[H, W]; the detector's own mask when they are not of one thing."""
    shared = np.minimum(seen, outline).sum()
    union = np.maximum(seen, outline).sum()
    return (outline if shared > AGREEMENT * union and outline.max() > 0.5 else seen).astype(np.float32)


def person_box(mask: np.ndarray) -> np.ndarray:
    """Float[4], (x0, y0, x1, y1) in pixels around a mask Float[H, W] that is somewhere above 0.5."""
    rows, columns = np.where((mask > 0.5).any(1))[0], np.where((mask > 0.5).any(0))[0]
    x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    across, down = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    return np.array([x0 - across, y0 - down, x1 + across, y1 + down], np.float32)
