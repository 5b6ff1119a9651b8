"""What all text-prompted models share: words to instances, instances to persons and regions.

A model encodes a picture once and then answers words; nothing here knows which model it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..keywords import Prompt, plain
from ..regions.masks import SemanticMasks
from .compose import Findings, resized, segment_pictures
from .protocol import SegmentRequest, is_looked_for

PERSON = "person"
"""The word that persons are found by."""
SAME_OVERLAP = 0.7
"""Two detections of one person share at least this much of their union..."""
SAME_INSIDE = 0.85
"""...or at least this much of the smaller one."""


@dataclass(frozen=True)
class Instances:
    """What one word found: masks Float[N, h, w] in 0..1 that span the whole picture at any resolution, and
    scores Float[N] in 0..1, in any order, on the CPU.
    """

    masks: Tensor
    scores: Tensor

    @staticmethod
    def none() -> "Instances":
        return Instances(torch.zeros(0, 1, 1), torch.zeros(0))

    def above(self, threshold: float) -> "Instances":
        """Those with at least this score."""
        kept = self.scores >= threshold
        return Instances(self.masks[kept], self.scores[kept])

    def soft_union(self, size: tuple[int, int]) -> Tensor:
        """Float[H, W]: the strongest instance at each pixel; zeros when there is none."""
        if not len(self.masks):
            return torch.zeros(size)
        return resized(self.masks.amax(0, keepdim=True), size)[0]


class EncodedPicture(Protocol):
    """A picture that a model has seen."""

    def find(self, thresholds: Mapping[str, float]) -> Mapping[str, Instances]:
        """Instances of every word, with at least that word's score. The picture is not encoded again."""
        ...


class PromptedModel(Protocol):
    """A model that finds things by words.

    `threshold` is the score in 0..1 that a detection needs when a prompt names none. `details` go into the
    provenance. `modules` are as in `Segmenter`.
    """

    name: str
    weights_id: str
    modules: Sequence[nn.Module]
    threshold: float
    details: Mapping[str, str]

    def encode(self, image: Tensor) -> EncodedPicture:
        """Look once at a picture, Float[H, W, 3] in 0..1, sRGB, on the CPU."""
        ...


class PromptedSegmenter:
    """The segmenter around a prompted model."""

    def __init__(self, model: PromptedModel):
        self.model = model
        self.name = model.name
        self.weights_id = model.weights_id
        self.modules = model.modules

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        """Persons by the word "person", every category by its words; see `Segmenter.segment`.

        Of "lighting" and "background", see `protocol.is_looked_for`.
        """
        provenance = {
            "backend": self.name,
            "weights": self.weights_id,
            "threshold": f"{self.model.threshold:g}",
            **self.model.details,
        }
        with torch.inference_mode():
            return segment_pictures(images, request, lambda picture: self._find(picture, request), provenance)

    def _find(self, picture: Tensor, request: SegmentRequest) -> Findings:
        size = (picture.shape[0], picture.shape[1])
        prompts = {
            name: prompt
            for name, prompt in request.prompts.items()
            if is_looked_for(name, request.keep_overlaps)
        }
        found = self.model.encode(picture).find(thresholds(prompts, self.model.threshold))
        regions, scores = {}, {}
        for name, prompt in prompts.items():
            limit = self.model.threshold if prompt.threshold is None else prompt.threshold
            wanted = [found[plain(word)].above(limit) for word in prompt.words]
            unwanted = [found[plain(word)].above(limit) for word in prompt.exclude]
            regions[name] = _strongest(wanted, size) * (1 - _strongest(unwanted, size))
            scores[name] = max((float(hit.scores.max()) for hit in wanted if len(hit.scores)), default=0.0)
        persons = distinct(found[PERSON].above(self.model.threshold))
        return Findings(regions, resized(persons, size), scores)


def thresholds(prompts: Mapping[str, Prompt], default: float) -> dict[str, float]:
    """Every distinct word once, and "person", with the lowest score that any of its categories asks for."""
    lowest = {PERSON: default}
    for prompt in prompts.values():
        limit = default if prompt.threshold is None else prompt.threshold
        for word in map(plain, (*prompt.words, *prompt.exclude)):
            lowest[word] = min(lowest.get(word, limit), limit)
    return lowest


def _strongest(found: Sequence[Instances], size: tuple[int, int]) -> Tensor:
    layers = [instances.soft_union(size) for instances in found]
    return torch.stack(layers).amax(0) if layers else torch.zeros(size)


def distinct(found: Instances) -> Tensor:
    """Float[N, h, w]: one mask per object, the best scored first.

    A mask that shares most of itself with a better one is a second look at the same object, however large
    either is. Masks that are nowhere above 0.5 are no objects.
    """
    kept: list[Tensor] = []
    for index in torch.argsort(found.scores, descending=True, stable=True):
        mask = found.masks[index]
        if mask.max() > 0.5 and not any(_is_same(mask, better) for better in kept):
            kept.append(mask)
    return torch.stack(kept) if kept else found.masks[:0]


def _is_same(a: Tensor, b: Tensor) -> bool:
    shared, areas = float(torch.minimum(a, b).sum()), (float(a.sum()), float(b.sum()))
    return shared > SAME_OVERLAP * (sum(areas) - shared) or shared > SAME_INSIDE * min(areas)
