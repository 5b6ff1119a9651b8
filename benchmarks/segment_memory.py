"""How much memory the masks of one large photograph take, by its megapixels, and how good they are.

    python -m benchmarks.segment_memory [--megapixels 4 12 24 40]

The photographs of the set-up are enlarged. Each size runs in a process of its own, once as the shell does it
(file to mask file) and once as the nodes do (picture to masks, mask file, masks read again, preview and
overlay), and its peak is told above what the process had before, the picture itself included. IoU is that of
the regions with those of the same photograph at WHOLE megapixels, worked on at full size: how much is lost by
working on large pictures at a smaller one. Linux only: the peak is read from /proc. Ends with 1 when a bar is
missed.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import interpolate

from semantic_focus.datasets.bulk import cache_pictures
from semantic_focus.datasets.cache import get_or_segment
from semantic_focus.datasets.folder import load_picture, picture_files
from semantic_focus.datasets.mask_file import mask_path, read_masks
from semantic_focus.regions import large
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.regions.overlay import overlay
from semantic_focus.segmenters.protocol import SegmentRequest
from semantic_focus.segmenters.table import LazySegmenter

CHECKOUT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = CHECKOUT / ".cache" / "photographs"

MEGA = 1_000_000
WHOLE = 12.0
"""Megapixels of the masks that others are compared with."""
MEMORY_BAR = 1500
"""Most MB of a photograph of up to 40 megapixels."""
IOU_BAR = 0.97
"""Least IoU, averaged over regions and photographs."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory for the masks of large photographs.")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[4, 12, 24, 40])
    parser.add_argument("--one", nargs=2, metavar=("WAY", "PICTURE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, picture = options.one
        print(json.dumps(measured(way, Path(picture))))
        return 0
    with tempfile.TemporaryDirectory(prefix="segment_memory_") as folder:
        return table(Path(folder), options.megapixels)


def table(folder: Path, megapixels: list[float]) -> int:
    """Print one line for each size; 1 when a bar was missed."""
    photographs = picture_files(PHOTOGRAPHS)
    references = [folder / f"{photograph.stem}_reference.safetensors" for photograph in photographs]
    for photograph, reference in zip(photographs, references, strict=True):
        picture = enlarged(photograph, folder, WHOLE)
        run("whole", picture)
        mask_path(picture).rename(reference)
    print(f"{'MP':>5} {'shell, MB':>10} {'segment':>8} {'read':>8} {'drawn':>8} {'IoU':>7}")
    missed = False
    for size in megapixels:
        rows = []
        for photograph, reference in zip(photographs, references, strict=True):
            picture = enlarged(photograph, folder, size)
            rows.append({**run("shell", picture), **run("nodes", picture)})
            rows[-1]["iou"] = iou(mask_path(picture), reference)
        peaks = {name: max(row[name] for row in rows) for name in ("shell", "segment", "read", "drawn")}
        likeness = sum(row["iou"] for row in rows) / len(rows)
        print(f"{size:5g} {peaks['shell']:10.0f} {peaks['segment']:8.0f} {peaks['read']:8.0f} ", end="")
        print(f"{peaks['drawn']:8.0f} {likeness:7.4f}", flush=True)
        within = max(peaks.values()) <= MEMORY_BAR or size > 40
        missed = missed or not within or likeness < IOU_BAR
    return int(missed)


def enlarged(photograph: Path, folder: Path, megapixels: float) -> Path:
    """A JPEG of the photograph with this many pixels, its aspect kept."""
    path = folder / f"{photograph.stem}_{megapixels:g}.jpg"
    if not path.is_file():
        with Image.open(photograph) as file:
            scale = (megapixels * MEGA / (file.width * file.height)) ** 0.5
            size = (round(file.width * scale), round(file.height * scale))
            file.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(path, quality=92)
    return path


def run(way: str, picture: Path) -> dict[str, float]:
    """The peaks of one way of work in a process of its own, in MB by stage."""
    command = [sys.executable, "-m", "benchmarks.segment_memory", "--one", way, str(picture)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{picture.name}, {way}: ended with {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


class Peak:
    """Memory of this process above what it had when this was made."""

    def __init__(self):
        gc.collect()
        self._before = self._field("VmRSS")

    def since(self) -> float:
        """MB (of 10^6 bytes) at most since the last call, or since the beginning."""
        most = self._field("VmHWM") - self._before
        Path("/proc/self/clear_refs").write_text("5")
        return most * 1024 / MEGA

    @staticmethod
    def _field(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])


def measured(way: str, picture: Path) -> dict[str, float]:
    """Peaks of this process in MB, by stage."""
    segmenter, request = LazySegmenter("mediapipe"), SegmentRequest()
    segmenter.get().segment(torch.zeros(1, 64, 64, 3), request)  # what is loaded once is no picture's
    if way == "whole":
        large.LARGE = sys.maxsize
    peak = Peak()
    if way != "nodes":
        (result,) = cache_pictures([picture], request, segmenter)
        if result.status not in ("segmented", "fresh"):
            raise SystemExit(result.reason)
        return {"shell": peak.since()}
    image = load_picture(picture)[None]
    file = picture.with_name(picture.stem + "_nodes_zi_masks.safetensors")
    masks = get_or_segment(image, request, segmenter, [file])
    found = {"segment": peak.since()}
    del masks
    peak.since()
    masks = read_masks(file)
    found["read"] = peak.since()
    overlay(image, masks)
    file.unlink()
    return {**found, "drawn": peak.since()}


def iou(masks: Path, reference: Path) -> float:
    """Mean over the regions of intersection over union, at the size of the reference."""
    found, known = read_masks(masks), read_masks(reference)
    pairs = [(hard(found, label, known.size), hard(known, label, known.size)) for label in named(known)]
    shares = [float((a & b).sum() / (a | b).sum()) for a, b in pairs if (a | b).any()]
    return sum(shares) / len(shares)


def named(masks: SemanticMasks) -> list[str]:
    """The regions that are compared: lighting has no outline."""
    return [label for label in masks.labels if label != "lighting"]


def hard(masks: SemanticMasks, label: str, size: tuple[int, int]) -> torch.Tensor:
    """Bool[H, W]."""
    return interpolate(masks.region(label)[None].float(), size, mode="bilinear", antialias=True)[0, 0] >= 0.5


if __name__ == "__main__":
    sys.exit(main())
