"""What programs leave behind that are killed at random moments: nothing corrupt, redone or different.

    python -m benchmarks.kills [--kills 400] [--seed 0] [--only caching|training|saving]

Three kinds of work, a third of the kills (SIGKILL) each: mask files of a folder of photographs, a training
that writes a state after every second step, and a loop that writes one mask file and one LoRA over and over.
A killed life is followed by another in the same folder until the work is done, and that by the same work in
a new folder.

- corrupt: a file under its own name that cannot be read to its end, after any kill.
- redone: a finished mask file, state or LoRA that a later life wrote again.
- different: a file that is not, byte for byte, that of a life which was left in peace.

Lives are forked from one interpreter that has torch loaded, so that 400 of them take minutes. Not on Windows.
"""

import argparse
import itertools
import math
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch
from PIL import Image

from benchmarks.photographs import CHECKOUT
from semantic_focus.datasets.bulk import cache_pictures
from semantic_focus.datasets.folder import picture_files
from semantic_focus.datasets.mask_file import read_masks, save_masks
from semantic_focus.lora.file import load_lora, save_lora
from semantic_focus.lora.metadata import lora_metadata
from semantic_focus.segmenters.protocol import SegmentRequest
from semantic_focus.segmenters.table import LazySegmenter
from semantic_focus.training.run_folder import RunFolder
from semantic_focus.training.state import load_train_state

PHOTOGRAPHS = CHECKOUT / ".cache" / "photographs"
TRAINING = CHECKOUT / "tests" / "unit" / "training"
"""Where the small training is that the tests kill, too."""

PICTURES, SIDE = 12, 192
VERSIONS = 2
"""Contents that the loop which saves writes by turns."""

Contents = dict[str, bytes]
"""File name -> content."""
State = tuple[int, int]
"""Inode and time of a file: what changes when it is written again."""


class Work:
    """One kind of work, done in a folder.

    Attributes:
        endless: another life always has something to do.
        seconds: that a life may have; 0: half of what the work takes in peace.
    """

    name = ""
    endless = False
    seconds = 0.0

    def in_peace(self, new_folder: Callable[[], Path], live: Callable[[Path], None]) -> list[Contents]:
        """What the work leaves when nobody kills it; several contents where it goes on changing them."""
        folder = new_folder()
        live(folder)
        return [contents(folder)]

    def prepare(self, folder: Path) -> None:
        """What is there before the first life."""

    def live(self, folder: Path) -> None:
        """Begin or go on, up to the end."""
        raise NotImplementedError

    def read(self, file: Path) -> None:
        """Read a file to its end, and raise if that fails."""
        raise NotImplementedError

    def is_done(self, folder: Path) -> bool:
        """Whether another life would do nothing."""
        return False


class Caching(Work):
    """Mask files of crops of photographs, by the embedded segmenter."""

    name = "caching"

    def prepare(self, folder: Path) -> None:
        photographs = sorted(path for path in PHOTOGRAPHS.iterdir() if path.suffix in (".png", ".jpg"))
        for index in range(PICTURES):
            with Image.open(photographs[index % len(photographs)]) as photograph:
                left, top = 8 * index, 4 * index
                crop = photograph.convert("RGB").crop((left, top, left + 2 * SIDE, top + 2 * SIDE))
            crop.resize((SIDE, SIDE)).save(folder / f"picture_{index:02}.png")

    def live(self, folder: Path) -> None:
        cache_pictures(picture_files(folder), SegmentRequest(), LazySegmenter("mediapipe"))

    def read(self, file: Path) -> None:
        if file.suffix == ".safetensors":
            read_masks(file)

    def is_done(self, folder: Path) -> bool:
        return len(list(folder.glob("*_zi_masks.safetensors"))) == PICTURES


class Training(Work):
    """Sixteen steps of a small flow model, with a state and a LoRA after every second one."""

    name = "training"

    def live(self, folder: Path) -> None:
        sys.path.insert(0, str(TRAINING))
        import_module("killed_run").train_once(str(folder))

    def read(self, file: Path) -> None:
        if file.name.startswith("state_"):
            load_train_state(file)
        elif file.name.startswith("lora_"):
            load_lora(file)

    def is_done(self, folder: Path) -> bool:
        description = RunFolder(folder / "person").description()
        return description is not None and description["finished"]


class Saving(Work):
    """One mask file and one LoRA, written over and over."""

    name = "saving"
    endless = True
    seconds = 0.2

    def in_peace(self, new_folder: Callable[[], Path], live: Callable[[Path], None]) -> list[Contents]:
        folder, versions = new_folder(), []
        for version in range(VERSIONS):
            self.write(folder, version)
            versions.append(contents(folder))
        return versions

    def live(self, folder: Path) -> None:
        for version in itertools.cycle(range(VERSIONS)):
            self.write(folder, version)

    def write(self, folder: Path, version: int) -> None:
        """Both files with a content of their version."""
        plane = torch.full((256, 256), float(version))
        ours = {"image_digest": "0" * 64}
        save_masks(folder / "picture_zi_masks.safetensors", {"face": plane, "hair": 1 - plane}, ours)
        tensors = {"x.lora_up.weight": torch.full((512, 512), float(version))}
        save_lora(folder / "lora.safetensors", tensors, lora_metadata(tensors, "comfyui"))

    def read(self, file: Path) -> None:
        if file.suffix == ".safetensors":
            (read_masks if "masks" in file.name else load_lora)(file)


WORKS = (Caching(), Training(), Saving())


@dataclass
class Outcome:
    """What was found of one kind of work."""

    name: str
    kills: int = 0
    lives: int = 0
    corrupt: list[str] = field(default_factory=list)
    redone: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return [*self.corrupt, *self.redone, *self.different]


def contents(folder: Path) -> Contents:
    """Every file that is there under its own name; hidden ones are locks and what a killed life had begun."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def finished(folder: Path) -> dict[str, State]:
    """The tensor files that are there."""
    return {
        path.relative_to(folder).as_posix(): ((status := path.stat()).st_ino, status.st_mtime_ns)
        for path in folder.rglob("*.safetensors")
        if not path.name.startswith(".")
    }


class Trial:
    """One kind of work, killed again and again in folders below `place`."""

    def __init__(self, work: Work, context: ForkServerContext, place: Path, chance: random.Random):
        self.work, self._context, self._place, self._chance = work, context, place, chance
        self.outcome = Outcome(work.name)
        self._numbers = itertools.count()

    def run(self, kills: int) -> Outcome:
        """Kill until `kills` is reached; what is then begun is finished."""
        started = time.monotonic()
        expected = self.work.in_peace(self._new_folder, self._live)
        seconds = self.work.seconds or (time.monotonic() - started) / 2
        folder = self._new_folder()
        while self.outcome.kills < kills:
            before = finished(folder)
            self._live(folder, self._chance.uniform(0, seconds))
            self._look(folder, before, expected)
            if self.work.is_done(folder):
                folder = self._new_folder()
        while not self.work.is_done(folder) and not self.work.endless:
            self._live(folder)
            self._look(folder, {}, expected)
        return self.outcome

    def _new_folder(self) -> Path:
        folder = self._place / f"{self.work.name}_{next(self._numbers)}"
        folder.mkdir()
        self.work.prepare(folder)
        return folder

    def _live(self, folder: Path, seconds: float | None = None) -> None:
        """A life, killed after so many seconds."""
        process = self._context.Process(target=self.work.live, args=(folder,))
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            self.outcome.kills += 1
        process.join()
        self.outcome.lives += 1
        if process.exitcode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{self.work.name} ended with {process.exitcode} in {folder}")

    def _look(self, folder: Path, before: Mapping[str, State], expected: Sequence[Contents]) -> None:
        now, found, done = finished(folder), contents(folder), self.work.is_done(folder)
        if not self.work.endless:
            self.outcome.redone += [name for name in before if now.get(name, before[name]) != before[name]]
        for name, content in found.items():
            try:
                self.work.read(folder / name)
            except (ValueError, OSError) as error:
                self.outcome.corrupt.append(f"{name}: {error}")
            # what is not done yet has files that will change (curves) or go (all states but the last)
            lasting = done or (name.endswith(".safetensors") and name in expected[0])
            if lasting and content not in [version.get(name) for version in expected]:
                self.outcome.different.append(name)
        if done:
            self.outcome.different += [name for name in expected[0] if name not in found]


def main() -> int:
    parser = argparse.ArgumentParser(description="What programs leave behind that are killed.")
    parser.add_argument("--kills", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[work.name for work in WORKS])
    options = parser.parse_args()
    works = [work for work in WORKS if options.only in (None, work.name)]
    faults = 0
    print(f"{'work':<10}{'kills':>7}{'lives':>7}{'corrupt':>9}{'redone':>8}{'different':>11}")
    for outcome in trials(works, math.ceil(options.kills / len(works)), options.seed):
        counts = [len(outcome.corrupt), len(outcome.redone), len(outcome.different)]
        print(
            f"{outcome.name:<10}{outcome.kills:>7}{outcome.lives:>7}"
            f"{counts[0]:>9}{counts[1]:>8}{counts[2]:>11}",
            flush=True,
        )
        for fault in outcome.faults[:10]:
            print(f"  {fault}")
        faults += sum(counts)
    return int(faults > 0)


def trials(works: Sequence[Work], kills: int, seed: int) -> Iterator[Outcome]:
    """Each kind of work, killed so many times."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch._dynamo", "semantic_focus.datasets.bulk", "semantic_focus.training.run"]
    )
    with tempfile.TemporaryDirectory(prefix="kills_") as place:
        for work in works:
            yield Trial(work, context, Path(place), random.Random(seed)).run(kills)


if __name__ == "__main__":
    sys.exit(main())
