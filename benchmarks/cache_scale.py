"""Whether caching holds on 1,000 pictures: killed ten times, resumed, memory, and the check of a warm run.

    python -m benchmarks.cache_scale [--pictures 1000] [--kills 10] [--seed 0]

Runs cache_masks.py with the fast tier in processes of its own, on crops of the photographs of the set-up, and
ends with 1 when a bar is missed. Linux only: memory is read from /proc while the program runs.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from semantic_focus.datasets.claims import LOCK_FILE
from semantic_focus.datasets.folder import picture_files
from semantic_focus.datasets.mask_file import read_masks

CHECKOUT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = CHECKOUT / ".cache" / "photographs"
PROGRAM = CHECKOUT / "cache_masks.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

MEMORY_BAR = 0.05
"""Most that the last 100 pictures may need beyond the first 100."""
WARM_BAR = 1000
"""Least pictures per second of a run in which every picture is fresh, without the start of Python."""
STRETCH = 100
"""Pictures over which memory is averaged, at both ends of a run."""

FileState = dict[str, tuple[int, int]]
"""Mask file name -> inode and time."""


@dataclass(frozen=True)
class Bar:
    """One line of the table."""

    name: str
    value: str
    passed: bool


def main() -> int:
    parser = argparse.ArgumentParser(description="How caching does on a large dataset.")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="cache_scale_") as folder:
        dataset = Path(folder)
        make_pictures(dataset, options.pictures, chance)
        bars = [*killed(dataset, options.kills, options.pictures, chance)]
        bars += resumed(dataset, options.pictures)
        bars += warm(dataset, options.pictures)
    width = max(len(bar.name) for bar in bars)
    for bar in bars:
        print(f"{bar.name:<{width}}  {bar.value:>28}  {'PASS' if bar.passed else 'FAIL'}")
    return 0 if all(bar.passed for bar in bars) else 1


def make_pictures(dataset: Path, count: int, chance: random.Random) -> None:
    """Square crops of the photographs of 128 to 256 pixels, each another one."""
    photographs = [Image.open(path).convert("RGB") for path in picture_files(PHOTOGRAPHS)]
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = chance.randint(min(photograph.size) // 2, min(photograph.size))
        left, top = (chance.randint(0, length - side) for length in photograph.size)
        crop = photograph.crop((left, top, left + side, top + side))
        size = chance.randint(128, 256)
        crop.resize((size, size), Image.Resampling.LANCZOS).save(dataset / f"{number:04}.jpg", quality=92)


def state(dataset: Path) -> FileState:
    found = {}
    for path in dataset.glob("*_zi_masks.safetensors"):
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def start(dataset: Path, *python_options: str) -> subprocess.Popen[str]:
    command = [sys.executable, *python_options, str(PROGRAM), str(dataset)]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def killed(dataset: Path, kills: int, pictures: int, chance: random.Random) -> list[Bar]:
    """Kill the program at random moments, each time after some more pictures."""
    known: FileState = {}
    done = touched = broken = parts = 0
    for _ in range(kills):
        process = start(dataset)
        goal = len(known) + chance.randint(1, max(1, pictures // (4 * kills)))
        while process.poll() is None and len(state(dataset)) < goal:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done += process.returncode == -signal.SIGKILL
        now = state(dataset)
        touched += sum(now.get(name) != found for name, found in known.items())
        broken += sum(not readable(dataset / name) for name in now.keys() - known.keys())
        parts += sum(path.name != LOCK_FILE for path in dataset.glob(".*"))
        known = now
    print(
        f"{done} kills: {len(known)} mask files, {parts} temporary files left behind on the way", flush=True
    )
    return [
        Bar("killed at random moments", f"{done} times", done == kills),
        Bar("finished files touched by later runs", f"{touched} of {len(known)}", touched == 0),
        Bar("incomplete files after a kill", f"{broken} of {len(known)}", broken == 0),
    ]


def readable(path: Path) -> bool:
    try:
        read_masks(path)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return False
    return True


def resumed(dataset: Path, pictures: int) -> list[Bar]:
    """The rest of the dataset in one go, with the program's memory over the number of files made."""
    known = state(dataset)
    process = start(dataset)
    samples: list[tuple[int, float]] = []
    while process.poll() is None:
        made = sum(entry.name.endswith(".safetensors") for entry in os.scandir(dataset)) - len(known)
        if made > 0 and (resident := resident_megabytes(process.pid)):
            samples.append((made, resident))
        time.sleep(0.1)
    out, err = process.communicate()
    summary = json.loads(out) if out else {"counts": {}, "error": err}
    print(json.dumps({name: summary[name] for name in summary if name not in ("kept", "due")}), flush=True)
    now, rest = state(dataset), pictures - len(known)
    first = statistics.fmean(memory for made, memory in samples if made <= STRETCH)
    last = statistics.fmean(memory for made, memory in samples if made > rest - STRETCH)
    growth = last / first - 1
    untouched = all(now.get(name) == found for name, found in known.items())
    leftovers = [path.name for path in dataset.glob(".*")]
    segmented = summary["counts"].get("segmented")
    return [
        Bar("resumed run makes the rest, once", f"{segmented} of {rest}", segmented == rest and untouched),
        Bar("all mask files complete", f"{len(now)}", all_readable(dataset, now) and len(now) == pictures),
        Bar("temporary and lock files left", " ".join(leftovers) or "none", not leftovers),
        Bar(
            f"memory, first and last {STRETCH} of {rest}",
            f"{first:.1f} -> {last:.1f} MB ({growth:+.1%})",
            growth <= MEMORY_BAR,
        ),
    ]


def all_readable(dataset: Path, files: FileState) -> bool:
    return all([readable(dataset / name) for name in files])


def resident_megabytes(process: int) -> float | None:
    """None when the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return kilobytes[0] / 1024 if kilobytes else None


def warm(dataset: Path, pictures: int) -> list[Bar]:
    """A run with nothing to do: how fast, and whether the networks' runtime is imported."""
    before = state(dataset)
    out, _ = start(dataset).communicate()
    summary = json.loads(out)
    _, imports = start(dataset, "-X", "importtime").communicate()
    rate = pictures / summary["seconds"]
    loaded = "ai_edge_litert" in imports
    fresh = summary["counts"]["fresh"] == pictures and state(dataset) == before
    return [
        Bar("warm run: all fresh, nothing written", f"{summary['counts']['fresh']}", fresh),
        Bar("warm check", f"{rate:.0f} pictures/s", rate >= WARM_BAR),
        Bar("warm run loads no model", "runtime imported" if loaded else "not imported", not loaded),
    ]


if __name__ == "__main__":
    sys.exit(main())
