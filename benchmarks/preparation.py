"""Whether preparing a folder for a training holds on 1,000 pictures: memory, and a run from what is kept.

    python -m benchmarks.preparation [--pictures 1000] [--resolution 512] [--made-up]

Crops of the photographs of the set-up, each with a caption of its own, are prepared twice, each time in a
process of its own, with the fast segmenter, the stand-ins' codec and text encoder. With --made-up the regions
are made up of colours: how segmenting holds is measured by `cache_scale`. Memory is what stays in
the process after a picture; of each pass over the pictures the last are compared with the first. Ends with 1
when a bar is missed. Linux only: memory is read from /proc.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.cache_scale import ENVIRONMENT, STRETCH, Bar, make_pictures
from benchmarks.made_up_regions import TABLE
from host.standins.codec import CHANNELS, BlockCodec
from host.standins.text import HashingTextEncoder
from semantic_focus.datasets.preparation import PASSES, Encoders, Preparation, Watcher, prepare
from semantic_focus.segmenters.table import LazySegmenter

CHECKOUT = Path(__file__).resolve().parent.parent
MEMORY_BAR = 0.03
"""Most that the last pictures of a pass may need beyond the first."""
WARM_BAR = 5.0
"""Most seconds of the processor for 1,000 pictures of which everything is there."""
PASS_NAMES = ("latents", "mask files", "masks", "captions")


class AsItIs:
    """A latent format that changes nothing."""

    def process_in(self, latent):
        return latent

    process_out = process_in


@dataclass(frozen=True)
class Run:
    """One preparation: its seconds, those of the processor, what it made, and MiB by pass over the first and
    the last pictures.
    """

    seconds: float
    busy: float
    made: dict[str, int]
    memory: list[tuple[float, float]]

    @property
    def growth(self) -> float:
        return max(last / first for first, last in self.memory) - 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory and time of preparing a large dataset.")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--made-up", action="store_true", help="no real segmenter")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(prepared(options.child, options.resolution, options.made_up)))
        return 0
    with tempfile.TemporaryDirectory(prefix="preparation_") as place:
        folder = Path(place)
        make_pictures(folder, options.pictures, random.Random(0))
        for picture in folder.glob("*.jpg"):
            picture.with_suffix(".txt").write_text(f"a photograph, number {picture.stem}")
        first, again = (run(folder, options.resolution, options.made_up) for _ in range(2))
        kept = sum(file.stat().st_size for file in folder.glob("*_zi_prepared.safetensors")) / 2**20
    for name, one in (("first run", first), ("again", again)):
        print(f"{name}: {one.seconds:.1f} s ({one.busy:.1f} s of work), made {one.made or 'nothing'}")
        for each, (early, late) in zip(PASS_NAMES, one.memory, strict=True):
            print(f"  {each:<12}{early:8.0f} MiB after the first, {late:8.0f} after the last pictures")
    print(f"kept beside the pictures: {kept:.0f} MiB")
    warm = again.busy * 1000 / options.pictures
    bars = [
        Bar("growth of memory, first run", f"{first.growth:+.1%}", first.growth <= MEMORY_BAR),
        Bar("growth of memory, again", f"{again.growth:+.1%}", again.growth <= MEMORY_BAR),
        Bar("again, nothing is made", str(again.made or "nothing"), not again.made),
        Bar("again, work for 1,000 pictures", f"{warm:.1f} s", warm <= WARM_BAR),
    ]
    for bar in bars:
        print(f"{bar.name:<32}{bar.value:>12}  {'PASS' if bar.passed else 'FAIL'}")
    return 0 if all(bar.passed for bar in bars) else 1


def run(folder: Path, resolution: int, made_up: bool) -> Run:
    command = [sys.executable, "-m", "benchmarks.preparation", "--child", folder]
    command += ["--made-up"] if made_up else []
    done = subprocess.run(
        [*command, "--resolution", str(resolution)],
        cwd=CHECKOUT,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
        text=True,
    )
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def prepared(folder: Path, resolution: int, made_up: bool) -> dict[str, object]:
    """What a `Run` holds."""
    codec = BlockCodec((0.0,) * CHANNELS, (1.0,) * CHANNELS, AsItIs())
    texts = HashingTextEncoder()
    encoders = Encoders(
        codec.encode,
        lambda words: texts.encode_from_tokens_scheduled(texts.tokenize(words)),
        "codec",
        "words",
    )
    memory: list[float] = []
    started, worked = time.perf_counter(), time.process_time()
    found = prepare(
        folder,
        Preparation((resolution,), 16),
        encoders,
        LazySegmenter("made_up", table=TABLE) if made_up else LazySegmenter("mediapipe"),
        Watcher(done=lambda: memory.append(resident())),
    )
    seconds, busy = time.perf_counter() - started, time.process_time() - worked
    pictures = len(memory) // PASSES
    assert len(found.latents) == pictures, "a pass left pictures out"
    passes = [memory[start : start + pictures] for start in range(0, len(memory), pictures)]
    compared = [(mean(each[:STRETCH]), mean(each[-STRETCH:])) for each in passes]
    return {
        "seconds": seconds,
        "busy": busy,
        "made": {k: v for k, v in found.made.items() if v},
        "memory": compared,
    }


def resident() -> float:
    """MiB that are this process's own; pages of libraries come and go with what else the machine does."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
