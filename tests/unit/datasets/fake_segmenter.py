"""A segmenter that makes up masks, and datasets for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semantic_focus.datasets.bulk import CacheSettings, cache_pictures
from semantic_focus.keywords import Prompt
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.protocol import SegmentRequest

REQUEST = SegmentRequest({"face": Prompt(("face",)), "hair": Prompt(("hair",))})


class FakeSegmenter:
    """Face is the red channel, hair the rest; fails on pictures that begin with a blue pixel."""

    def __init__(self):
        self.calls = 0
        self.also: Callable[[], None] = lambda: None

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        self.calls += 1
        self.also()
        if images[0, 0, 0].tolist() == [0, 0, 1]:
            raise RuntimeError("cannot do blue")
        face = images[..., 0]
        masks = torch.stack((face, 1 - face)[: len(request.labels)], 1)
        return SemanticMasks(masks, request.labels, (), {"backend": "fake"})


class FakeLazy:
    """What the cache needs of a LazySegmenter."""

    name, prompted, fixed = "fake", True, False

    def __init__(self, weights_id: str = "v1", error: Exception | None = None):
        self.weights_id = weights_id
        self.loads = 0
        self.segmenter = FakeSegmenter()
        self.error = error

    def answerable(self, request: SegmentRequest) -> SegmentRequest:
        return request

    def get(self) -> FakeSegmenter:
        self.loads += 1
        if self.error is not None:
            raise self.error
        return self.segmenter


def make(folder: Path, *names: str, colour: tuple[int, int, int] = (200, 30, 30)) -> list[Path]:
    """Small pictures, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for position, name in enumerate(names):
        pixels = np.full((6, 8, 3), colour, dtype=np.uint8)
        pixels[3, 3] = position
        Image.fromarray(pixels).save(folder / name)
    return [folder / name for name in names]


def run(pictures: list[Path], lazy: FakeLazy, request: SegmentRequest = REQUEST, **settings):
    """Picture name -> (status, reason)."""
    results = cache_pictures(pictures, request, lazy, CacheSettings(**settings))  # type: ignore[arg-type]
    assert sorted(result.picture for result in results) == sorted(pictures)
    return {result.picture.name: (result.status, result.reason) for result in results}


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with its inode, time and content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
