"""A segmenter that makes up masks in 20 ms, and cache_masks.py with it as the only one."""

import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters import table
from semantic_focus.segmenters.protocol import SegmentRequest


class Segmenter:
    """Red is the first region; blue pictures fail, green ones kill. That after `LIMIT` others never ends."""

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
        if images[0, 0, 0].tolist() == [0, 1, 0]:
            os.kill(os.getpid(), signal.SIGKILL)
        masks = torch.zeros(1, len(request.labels), *images.shape[1:3])
        masks[:, 0] = images[..., 0]
        return SemanticMasks(masks, request.labels, (torch.ones(1, *images.shape[1:3]),), {"backend": "fake"})


def missing(folders: Any) -> None:
    return None


def weights_id(folders: Any) -> str:
    return "v1"


def load(folders: Any, device: str) -> Segmenter:
    sys.stderr.write("LOADED\n")
    if device == "broken":
        raise RuntimeError("no such device")
    if device == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return Segmenter()


LIMIT: int | None = None
TABLE = {"fake": table.Backend("fake_backend", "fast", "for tests", False)}


def cache_masks(program: str, limit: int | None, under: Mapping[str, Any], *arguments: str) -> None:
    """Run the file `program`, which is cache_masks.py, with these arguments and this `LIMIT`.

    Args:
        under: "file_size": bytes that no file may exceed, as on a full disk. "nohup": as that program starts
            others.
    """
    global LIMIT
    LIMIT = limit
    if "file_size" in under:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (under["file_size"], under["file_size"]))
    if "nohup" in under:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    table.BACKENDS = MappingProxyType(TABLE)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
