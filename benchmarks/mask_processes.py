"""Masks by one process, by several, by shards, from tars and on Ray: how fast, the same files, and killed.

    python -m benchmarks.mask_processes [--pictures 12] [--kills 3] [--seed 0] [--ray [FOLDER]]

- rate and CPU: pictures per second of two processes over those of one, and CPU per picture; and over those of
  one that has a single core, as each of the two has (one by itself has its threads and its reading and
  writing on all cores). Start and loading are left out: what a run with so many pictures takes is taken off
  that of a run with three times as many.
- equal: the mask files of each way are those of one process, byte for byte.
- kills: in each way a process that makes masks is killed (SIGKILL) at a random moment, so many times, each
  time in a new folder. Nothing is missing then and nothing is left over; a shard, which is its own program,
  is started again.
- begin: of 20,000 pictures with masks and one without, how long until the latter is begun.

--ray brings Ray into .cache/ray, or another folder, by pip (0.5 GB) and runs it in a network namespace of its
own, as it listens on ports and looks for the network. Linux only. Ends with 1 when a bar is missed; the rate
says something only where nothing else is done meanwhile.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cache_scale import CHECKOUT, PROGRAM, Bar, make_pictures
from semantic_focus.datasets.folder import picture_files
from semantic_focus.datasets.mask_file import mask_path

RAY = CHECKOUT / ".cache" / "ray"
IN_A_NAMESPACE = ("unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""A command in a network that has the loopback device and nothing else."""

RATE_BAR, CPU_BAR, BEGIN_BAR, DRIVER_BAR = 1.7, 1.05, 1.0, 1e-4
TIMES = 3
"""How many times as many pictures the longer run has."""
OF_A_KILL = 6
"""Pictures of a run in which a process is killed."""
MANY = 20_000

Masks = dict[str, bytes]


@dataclass(frozen=True)
class Way:
    """One way to make the masks of a folder.

    Attributes:
        shards: programs that share the work.
        options: of each.
        in_tars: whether the pictures are in tars.
        cores: that its programs may use; 0: all.
        marks: what is in the command line of a process that makes masks; nothing: it is the program itself.
    """

    name: str
    options: tuple[str, ...] = ()
    shards: int = 1
    in_tars: bool = False
    on_ray: bool = False
    cores: int = 0
    marks: bytes = b""

    def commands(self, dataset: Path) -> list[list[str]]:
        """One for each program."""
        place = f"file://{dataset}/*.tar" if self.in_tars else str(dataset)
        within = ["taskset", "--cpu-list", f"0-{self.cores - 1}"] if self.cores else []
        within += IN_A_NAMESPACE if self.on_ray else ()
        start = [*within, sys.executable, str(PROGRAM), place, *self.options]
        shards = [f"--shard={index}/{self.shards}" for index in range(1, self.shards + 1)]
        return [[*start, *([shard] if self.shards > 1 else [])] for shard in shards]


ONE = Way("one process")
ON_ONE_CORE = Way("one process on one core", cores=1)
SPAWNED = b"spawn_main"
TWO = Way("two processes", ("--processes", "2"), marks=SPAWNED)
WAYS = (
    TWO,
    Way("three shards", shards=3),
    Way("tars", ("--processes", "2"), in_tars=True, marks=SPAWNED),
)
ON_RAY = Way("Ray", ("--engine", "ray", "--processes", "2"), on_ray=True, marks=b"ray::Actor")


def main() -> int:
    parser = argparse.ArgumentParser(description="How the ways to spread masks do.")
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--kills", type=int, default=3, help="in each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ray", type=Path, nargs="?", const=RAY, metavar="FOLDER", help="Ray as well")
    parser.add_argument("--only", choices=("rate", "equal", "kills", "begin"), nargs="*")
    options = parser.parse_args()
    ways = [*WAYS, *([ON_RAY] if options.ray else [])]
    if options.ray:
        bring_ray(options.ray)
    with tempfile.TemporaryDirectory(prefix="mask_processes_") as folder:
        bench = Bench(Path(folder), options.pictures, random.Random(options.seed))
        parts = {
            "rate": bench.rates,
            "equal": lambda: bench.equal(ways),
            "kills": lambda: bench.kills(ways, options.kills),
            "begin": bench.begin,
        }
        bars = [
            bar for name, part in parts.items() if not options.only or name in options.only for bar in part()
        ]
        if options.ray and not options.only:
            bars += list(driver())
    width = max(len(bar.name) for bar in bars)
    for bar in bars:
        print(f"{bar.name:<{width}}  {bar.value:>32}  {'PASS' if bar.passed else 'FAIL'}")
    return 0 if all(bar.passed for bar in bars) else 1


def bring_ray(folder: Path) -> None:
    """Install Ray where only the programs that are started from here find it."""
    if not (folder / "ray").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "ray"]
        subprocess.run(pip, check=True)
    os.environ["PYTHONPATH"] = str(folder.resolve())


def ended(command: Sequence[str]) -> tuple[dict, float]:
    """The summary of a program, and the CPU seconds of it and of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), spent


class Bench:
    """Folders with the same pictures, to be worked on in different ways."""

    def __init__(self, place: Path, count: int, chance: random.Random):
        self.place, self.chance, self.made = place, chance, 0
        self.source = place / "source"
        self.source.mkdir()
        make_pictures(self.source, TIMES * count, chance)
        self.names = sorted(os.listdir(self.source))
        self.count = count

    def folder(self, names: Sequence[str], in_tars: bool = False) -> Path:
        """A new folder with some of the pictures, or with tars of half of them each."""
        self.made += 1
        folder = self.place / f"{self.made}"
        folder.mkdir()
        for name in () if in_tars else names:
            shutil.copy2(self.source / name, folder / name)
        for number in range(2 if in_tars else 0):
            with tarfile.open(folder / f"{number}.tar", "w") as tar:
                for name in names[number::2]:
                    tar.add(self.source / name, name)
        return folder

    def masks(self, folder: Path, way: Way, names: Sequence[str]) -> Masks:
        """The mask files of a folder; those of tars are unpacked."""
        if way.in_tars:
            beside = self.folder(names)
            subprocess.run(
                [sys.executable, str(PROGRAM), str(beside), "--unpack", f"file://{folder}/*.tar"],
                capture_output=True,
                check=True,
            )
            folder = beside
        return {path.name: path.read_bytes() for path in folder.glob("*_zi_masks.safetensors")}

    def by_one(self, names: Sequence[str]) -> Masks:
        """The mask files that one process makes."""
        folder = self.folder(names)
        ended(ONE.commands(folder)[0])
        return self.masks(folder, ONE, names)

    def rates(self) -> Iterator[Bar]:
        """Two processes over one, from the difference of a long run and a short one."""
        seconds, cpu = {}, {}
        for way in (ONE, ON_ONE_CORE, TWO):
            runs = [ended(way.commands(self.folder(self.names[:count]))[0]) for count in self._counts()]
            (short, short_cpu), (long, long_cpu) = runs
            more = self._counts()[1] - self._counts()[0]
            seconds[way] = (long["seconds"] - short["seconds"]) / more
            cpu[way] = (long_cpu - short_cpu) / more
            print(f"{way.name}: {1 / seconds[way]:.2f} pictures/s, {cpu[way]:.2f} s CPU each", flush=True)
        for way in (ONE, ON_ONE_CORE):
            rate = seconds[way] / seconds[TWO]
            yield Bar(f"pictures/s, two processes over {way.name}", f"{rate:.2f}", rate >= RATE_BAR)
        share = cpu[TWO] / cpu[ONE]
        yield Bar("CPU per picture, two over one", f"{share:.2f}", share <= CPU_BAR)

    def _counts(self) -> tuple[int, int]:
        return self.count, TIMES * self.count

    def equal(self, ways: Sequence[Way]) -> Iterator[Bar]:
        names = self.names[: self.count]
        expected = self.by_one(names)
        for way in ways:
            folder = self.folder(names, way.in_tars)
            for command in way.commands(folder):
                ended(command)
            found = self.masks(folder, way, names)
            same = sum(found.get(name) == content for name, content in expected.items())
            passed = found == expected and len(expected) == len(names)
            yield Bar(f"{way.name}: files equal to one process's", f"{same} of {len(expected)}", passed)

    def kills(self, ways: Sequence[Way], count: int) -> Iterator[Bar]:
        names = self.names[:OF_A_KILL]
        expected = self.by_one(names)
        for way in ways if count else ():
            killed = whole = left_over = 0
            for _ in range(count):
                folder = self.folder(names, way.in_tars)
                killed += any([self._killed_once(way, command) for command in way.commands(folder)])
                whole += self.masks(folder, way, names) == expected
                left_over += len(list(folder.glob(".*")))
            value = f"{killed} kills, {whole} whole, {left_over} left over"
            yield Bar(f"{way.name}: killed", value, whole == count and not left_over)

    def _killed_once(self, way: Way, command: Sequence[str]) -> bool:
        """Run a program; kill it, or one of its processes, at a random moment. Whether there was one."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        end = time.monotonic() + 600
        while process.poll() is None and not workers_of(process.pid, way.marks):
            time.sleep(0.02)
        time.sleep(self.chance.uniform(0, 12))
        victims = workers_of(process.pid, way.marks)
        if victims and process.poll() is None:
            os.kill(self.chance.choice(victims), signal.SIGKILL)
        _, errors = process.communicate(timeout=max(1, end - time.monotonic()))
        if process.returncode == -signal.SIGKILL:
            ended(command)
        elif process.returncode:
            raise SystemExit(f"{command}: {errors.decode()}")
        return bool(victims)

    def begin(self) -> Iterator[Bar]:
        """How soon one picture is begun among many whose masks are fresh."""
        folder = self.folder(self.names[:1])
        picture = folder / self.names[0]
        ended(ONE.commands(folder)[0])
        for number in range(MANY - 1):
            os.link(picture, folder / f"fresh_{number:05}.jpg")
            os.link(mask_path(picture), mask_path(folder / f"fresh_{number:05}.jpg"))
        shutil.copy2(self.source / self.names[1], folder / "z.jpg")
        code = "import sys; from benchmarks.mask_processes import seconds_to_begin as f; f(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = float(done.stdout)
        yield Bar(
            f"of {MANY} fresh ones the first due begins after", f"{seconds:.2f} s", seconds <= BEGIN_BAR
        )


def seconds_to_begin(folder: str) -> None:
    """Print how long it takes to list a folder and to come to the first picture that is due."""
    from semantic_focus.datasets.bulk import cache_pictures
    from semantic_focus.datasets.engines.plan import Plan
    from semantic_focus.segmenters.protocol import SegmentRequest
    from semantic_focus.segmenters.table import LazySegmenter

    started = time.perf_counter()

    def first(plan: Plan) -> None:
        while plan.next() is None:
            pass
        sys.stdout.write(str(time.perf_counter() - started))

    cache_pictures(picture_files(folder), SegmentRequest(), LazySegmenter("mediapipe"), engine=first)


def workers_of(program: int, marks: bytes) -> list[int]:
    """The processes below a program that make masks."""
    if not marks:
        return [program]
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(words[1]), (entry / "cmdline").read_bytes()
            except OSError:
                continue
    below, found = {program}, []
    for _ in range(8):
        below |= {pid for pid, (parent, _) in parents.items() if parent in below}
    for pid in below - {program}:
        if pid in parents and marks in parents[pid][1]:
            found.append(pid)
    return sorted(found)


def driver() -> Iterator[Bar]:
    """CPU of Ray's driver for a picture, with workers that make masks of nothing."""
    with tempfile.TemporaryDirectory(prefix="mask_driver_") as folder:
        command = [*IN_A_NAMESPACE, sys.executable, "-m", "benchmarks.mask_driver", folder]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    dealing, looking = (float(word) for word in done.stdout.split()[-2:])
    value = f"{dealing * 1e3:.3f} ms, and {looking * 1e3:.3f} ms to look"
    yield Bar("Ray's driver, CPU per picture", value, dealing <= DRIVER_BAR)


if __name__ == "__main__":
    sys.exit(main())
