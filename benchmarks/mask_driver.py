"""CPU of the program that deals pictures to Ray's workers; they make masks of nothing. See `mask_processes`.

    python -m benchmarks.mask_driver FOLDER [--pictures 4000]

Prints two numbers: seconds per picture of all that is done but looking at mask files, and of looking at them.
"""

import argparse
import sys
import time
from collections import deque
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from semantic_focus.datasets.bulk import cache_pictures
from semantic_focus.datasets.engines.on_ray import Ray
from semantic_focus.datasets.engines.plan import Plan
from semantic_focus.datasets.folder import picture_files
from semantic_focus.datasets.freshness import Due
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.protocol import SegmentRequest, WeightFolders
from semantic_focus.segmenters.table import Backend, LazySegmenter


class Segmenter:
    """All is background."""

    name, weights_id, modules = "instant", "v1", ()

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        masks = torch.zeros(1, len(request.labels), *images.shape[1:3])
        return SemanticMasks(masks, request.labels, (), {"backend": self.name})


def missing(folders: WeightFolders) -> None:
    return None


def weights_id(folders: WeightFolders) -> str:
    return "v1"


def load(folders: WeightFolders, device: str) -> Segmenter:
    return Segmenter()


TABLE = {"instant": Backend("benchmarks.mask_driver", "fast", "for this benchmark", False)}


class Timed(Ray):
    """Knows the CPU seconds since the first picture was dealt."""

    began = ended = 0.0

    def __call__(self, plan: Plan) -> None:
        super().__call__(plan)
        self.ended = time.process_time()

    def _deal(self, plan: Plan, waiting: deque[Due]) -> None:
        if not self.began and any(worker.is_ready for worker in self._workers):
            self.began = time.process_time()
        super()._deal(plan, waiting)


def main() -> int:
    parser = argparse.ArgumentParser(description="What Ray's driver has to do for a picture.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=4000)
    options = parser.parse_args()
    for number in range(options.pictures):
        Image.new("RGB", (8, 8), (number % 256, number // 256, 0)).save(options.folder / f"{number:05}.png")
    pictures, segmenter = picture_files(options.folder), LazySegmenter("instant", table=TABLE)
    looked = 0.0
    next_of = Plan.next

    def timed(plan: Plan):
        nonlocal looked
        before = time.thread_time()
        found = next_of(plan)
        looked += time.thread_time() - before
        return found

    setattr(Plan, "next", timed)  # noqa: B010 (of a class, which type checkers mind)
    engine = Timed(2)
    with engine:
        results = cache_pictures(pictures, SegmentRequest(), segmenter, engine=engine)
        assert {result.status for result in results} == {"segmented"}
        spent = engine.ended - engine.began
    print((spent - looked) / len(pictures), looked / len(pictures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
