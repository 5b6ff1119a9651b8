"""Whether damaged and hostile files are refused in words: none ends in a raw error, takes long, fills the
memory, or is read with values that are no numbers.

    python -m benchmarks.damaged_files [--count 60000] [--flips 2000] [--seed 0]

Every kind of file that the library reads is written once, damaged in many ways, and read with the library's
own reader. Then single bits of files with a digest are flipped. Ends with 1 when anything was found. Linux
only: memory is read from /proc.
"""

import argparse
import math
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.damage import flipped
from benchmarks.damaged_kinds import KINDS, WITH_DIGEST, Kind

COUNT, FLIPS = 3000, 200
MOST_SECONDS, MOST_BYTES = 10.0, 1 << 30
SHOWN = 5
"""Findings of each kind that are printed."""


@dataclass
class Trial:
    """What came of the damaged files of one kind."""

    tried: int = 0
    refused: int = 0
    raw: Counter[str] = field(default_factory=Counter)
    slow: Counter[str] = field(default_factory=Counter)
    large: Counter[str] = field(default_factory=Counter)
    not_finite: Counter[str] = field(default_factory=Counter)

    @property
    def findings(self) -> Counter[str]:
        """What should not be."""
        return self.raw + self.slow + self.large + self.not_finite


def trial(kind: Kind, count: int, seed: int, folder: Path) -> Trial:
    """Damage and read a kind of file `count` times; the files lie in `folder`, which must be empty."""
    chance, found = random.Random(f"{kind.name} {seed}"), Trial()
    kind.make(folder)
    targets = [path for path in sorted(folder.rglob("*")) if path.is_file() and kind.is_target(path)]
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    kind.read(folder)
    base = _reset_peak()
    for _ in range(count):
        path = chance.choice(targets)
        damage = chance.choice(kind.damages(path))
        content = kind.before(path, whole[path], chance)
        path.write_bytes(damage(content, chance))
        what = f"{path.name} {damage.__name__}"
        started = time.perf_counter()
        try:
            values = kind.read(folder)
            if (bad := _not_finite(values)) is not None:
                found.not_finite[f"{what}: {bad}"] += 1
        except kind.errors as error:
            found.refused += 1
            if type(error) not in kind.errors or not str(error):
                found.raw[f"{what}: {type(error).__name__}: {error}"[:300]] += 1
        except Exception as error:
            found.raw[f"{what}: {type(error).__name__}: {error}"[:300]] += 1
        if (seconds := time.perf_counter() - started) > MOST_SECONDS:
            found.slow[f"{what}: {seconds:.0f} s"] += 1
        if (peak := _peak() - base) > MOST_BYTES:
            found.large[f"{what}: {peak >> 20} MiB"] += 1
            base = _reset_peak()
        found.tried += 1
        _restore(folder, whole)
    return found


def _restore(folder: Path, whole: dict[Path, bytes]) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path not in whole:
            path.unlink()
    for path, content in whole.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)


@dataclass
class Flips:
    """What came of single flipped bits of one kind of file."""

    tried: int = 0
    noticed: int = 0
    without_effect: int = 0
    unnoticed: int = 0


def flips(kind: Kind, count: int, seed: int, folder: Path) -> Flips:
    """Flip one bit of a file and read it, `count` times."""
    chance, found = random.Random(f"{kind.name} {seed} flips"), Flips()
    kind.make(folder)
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    whole, expected = path.read_bytes(), list(_leaves(kind.read(folder)))
    for _ in range(count):
        path.write_bytes(flipped(whole, chance))
        found.tried += 1
        try:
            same = _equal(list(_leaves(kind.read(folder))), expected)
        except kind.errors:
            found.noticed += 1
        else:
            found.without_effect += same
            found.unnoticed += not same
    return found


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield str(key)
            yield from _leaves(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif hasattr(value, "__dataclass_fields__"):
        yield from _leaves(vars(value))
    else:
        yield value


def _equal(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) if torch.is_tensor(a) and torch.is_tensor(b) else type(a) is type(b) and a == b
        for a, b in zip(one, other, strict=True)
    )


def _not_finite(values: Any) -> str | None:
    for leaf in _leaves(values):
        if torch.is_tensor(leaf) and leaf.is_floating_point() and not bool(leaf.float().isfinite().all()):
            return "a tensor with values that are no finite numbers"
        if isinstance(leaf, float) and not math.isfinite(leaf):
            return f"the number {leaf}"
    return None


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10  # type: ignore[index] (Linux has it)


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def table(trials: dict[str, Trial], flipped_bits: dict[str, Flips]) -> str:
    """Both as tables in Markdown."""
    lines = ["| files | damaged | refused in words | raw errors | over 10 s | over 1 GiB | not finite |"]
    lines += ["| --- " * 7 + "|"]
    for name, found in trials.items():
        numbers = (
            found.tried,
            found.refused,
            *(c.total() for c in (found.raw, found.slow, found.large, found.not_finite)),
        )
        lines.append(f"| {name} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    lines += ["", "| one bit flipped in | files | noticed | without effect | unnoticed |", "| --- " * 5 + "|"]
    for name, found in flipped_bits.items():
        numbers = (found.tried, found.noticed, found.without_effect, found.unnoticed)
        lines.append(f"| {name} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether damaged and hostile files are refused in words.")
    parser.add_argument("--count", type=int, default=COUNT, help="damaged files over all kinds")
    parser.add_argument("--flips", type=int, default=FLIPS, help="flipped bits of each kind with a digest")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    trials, flipped_bits = {}, {}
    each = -(-options.count // len(KINDS))
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="damaged_") as folder:
            found = trials[kind.name] = trial(kind, each, options.seed, Path(folder))
        for what, times in found.findings.most_common(SHOWN):
            sys.stderr.write(f"{kind.name}: {times} times {what}\n")
    for kind in WITH_DIGEST:
        with tempfile.TemporaryDirectory(prefix="damaged_") as folder:
            flipped_bits[kind.name] = flips(kind, options.flips, options.seed, Path(folder))
    sys.stdout.write(table(trials, flipped_bits) + "\n")
    bad = any(found.findings for found in trials.values()) or any(f.unnoticed for f in flipped_bits.values())
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
