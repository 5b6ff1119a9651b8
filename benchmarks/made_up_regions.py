"""A segmenter whose regions are made up of colours, where the time of a real one does not matter."""

from collections.abc import Mapping

import torch
from torch import Tensor

from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.protocol import SegmentRequest
from semantic_focus.segmenters.table import Backend

TABLE = {"made_up": Backend(__name__, "fast", "regions by colour", prompted=False)}


class MadeUpSegmenter:
    """Gives every region a share of each pixel by its channels."""

    name, weights_id, modules = "made_up", "1", ()

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        count = len(request.labels)
        channels = images.movedim(-1, 1)[:, torch.arange(count) % 3]
        shares = channels / channels.sum(1, keepdim=True).clamp_min(1e-6)
        return SemanticMasks(shares, request.labels, (), {"backend": self.name})


def missing(folders: Mapping = {}) -> None:  # noqa: B006
    """Nothing ever is."""


def weights_id(folders: Mapping = {}) -> str:  # noqa: B006
    return MadeUpSegmenter.weights_id


def load(folders: Mapping = {}, device: str = "cpu") -> MadeUpSegmenter:  # noqa: B006
    return MadeUpSegmenter()
