"""A segmenter that makes up masks in 20 ms, and cache_masks.py with it as the only one."""

import runpy
import sys
import time
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters import table
from semantic_focus.segmenters.protocol import SegmentRequest


class Segmenter:
    """Red is the first region; blue pictures fail. The picture after `LIMIT` others takes for ever."""

    name, weights_id, modules = "fake", "v1", ()

    def __init__(self):
        self.done = 0

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        while self.done == LIMIT:
            time.sleep(0.02)
        time.sleep(0.02)
        self.done += 1
        if images[0, 0, 0].tolist() == [0, 0, 1]:
            raise RuntimeError("cannot do blue")
        masks = torch.zeros(1, len(request.labels), *images.shape[1:3])
        masks[:, 0] = images[..., 0]
        return SemanticMasks(masks, request.labels, (torch.ones(1, *images.shape[1:3]),), {"backend": "fake"})


def missing(folders: Any) -> None:
    return None


def weights_id(folders: Any) -> str:
    return "v1"


def load(folders: Any, device: str) -> Segmenter:
    sys.stderr.write("LOADED\n")
    return Segmenter()


LIMIT: int | None = None
TABLE = {"fake": table.Backend("fake_backend", "fast", "for tests", False)}


def cache_masks(program: str, limit: int | None, *arguments: str) -> None:
    """Run the file `program`, which is cache_masks.py, with these arguments and this `LIMIT`."""
    global LIMIT
    LIMIT = limit
    table.BACKENDS = MappingProxyType(TABLE)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
