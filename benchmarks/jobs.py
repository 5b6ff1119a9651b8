"""Jobs of one worker: the model loaded once, no memory lost, and the LoRAs of programs of their own.

    python -m benchmarks.jobs [--jobs 30] [--steps 4] [--cold 30]

A spool gets so many small trainings of one tiny SD3, each with another seed, and one more, so that the worker
is still there when they are done. One worker does them. Then as many are done again in another folder, each
by a `run` of its own.

- loaded: how often the worker has loaded the model.
- memory: what the worker holds (RSS) after the last job over what it held after the fifth.
- equal: the LoRAs of the worker are those of the programs, byte for byte.
- again: the seconds that `run` takes for a job that is done, and what it imports of torch, ComfyUI and so on.

How long a job takes the worker and a program of its own is told, and no bar.

Linux only. Ends with 1 when a bar is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cache_scale import CHECKOUT, Bar
from host.serve import comfyui_folder, environment_python

MEMORY_BAR, AGAIN_BAR = 1.03, 5.0
FIRST = 5
"""Jobs after which memory is looked at first."""
HEAVY = ("torch", "comfy", "fsspec", "ray")
PROGRAM = CHECKOUT / "semantic_focus"


def main() -> int:
    parser = argparse.ArgumentParser(description="What a worker makes of many jobs.")
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--cold", type=int, help="jobs that are done by programs of their own (default: all)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobs_") as folder:
        bench = Bench(Path(folder), options.jobs, options.steps)
        bars = [*bench.worker(), *bench.equal(options.jobs if options.cold is None else options.cold)]
        bars += bench.again()
    width = max(len(bar.name) for bar in bars)
    for bar in bars:
        print(f"{bar.name:<{width}}  {bar.value:>32}  {'PASS' if bar.passed else 'FAIL'}")
    return 0 if all(bar.passed for bar in bars) else 1


class Bench:
    """A spool of small trainings, and what becomes of them."""

    def __init__(self, place: Path, count: int, steps: int):
        self.place, self.count, self.steps = place, count, steps
        self.seconds: dict[str, float] = {}
        model = [environment_python(), CHECKOUT / "tests" / "stand_in_model.py"]
        subprocess.run([*model, comfyui_folder(), place / "model.safetensors"], check=True)
        subprocess.run(
            [environment_python(), CHECKOUT / "tests" / "stand_in_dataset.py", place / "dataset"], check=True
        )
        self.spool = self._jobs("spool", count + 1)

    def _jobs(self, name: str, count: int) -> Path:
        folder = self.place / name
        folder.mkdir()
        for number in range(count):
            config = {
                "model": {"path": "../model.safetensors", "device": "cpu"},
                "lora": {"rank": 4, "alpha": 4.0},
                "training": {"steps": self.steps, "learning_rate": 1e-3, "seed": number},
                "semantic_cosine": {"face_weight": 1.0, "background_weight": 0.0},
                "dataset": {"sources": [{"cache_directory": "../dataset"}]},
            }
            job = {"schema": 1, "kind": "train", "config": config, "output": f"out/{number:03}.safetensors"}
            (folder / f"{number:03}.json").write_text(json.dumps(job))
        return folder

    def _command(self, *words: object) -> list[str]:
        return [str(word) for word in (environment_python(), PROGRAM, *words, "--comfyui", comfyui_folder())]

    def worker(self) -> Iterator[Bar]:
        """One worker does all, and is watched."""
        log = self.place / "worker.log"
        with log.open("w") as file:
            began = time.monotonic()
            process = subprocess.Popen(
                self._command("work", "--spool", self.spool, "--once"), stdout=file, stderr=file
            )
            held: dict[int, int] = {}
            while process.poll() is None:
                done = len(list(self.spool.glob("*.done")))
                if done not in held:
                    held[done] = resident(process.pid)
                    self.seconds["worker"] = (time.monotonic() - began) / max(1, done)
                time.sleep(0.02)
        if process.returncode:
            raise SystemExit(log.read_text())
        print({done: f"{size / 2**20:.0f} MiB" for done, size in held.items()}, flush=True)
        loads = log.read_text().count(": loaded")
        yield Bar(f"times the model was loaded for {self.count + 1} jobs", str(loads), loads == 1)
        first, last = held[FIRST], held[self.count]
        yield Bar(
            f"memory after job {self.count} over job {FIRST}",
            f"{first / 2**20:.0f} to {last / 2**20:.0f} MiB, {last / first:.3f}",
            last / first <= MEMORY_BAR,
        )

    def equal(self, count: int) -> Iterator[Bar]:
        """Programs of their own do the same jobs in another folder."""
        folder = self._jobs("cold", count)
        began, same = time.monotonic(), 0
        for number in range(count):
            done = subprocess.run(
                self._command("run", folder / f"{number:03}.json"), capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            name = f"out/{number:03}.safetensors"
            same += (folder / name).read_bytes() == (self.spool / name).read_bytes()
        if count:
            each = (time.monotonic() - began) / count
            print(
                f"a job: {each:.1f} s by a program of its own, {self.seconds['worker']:.1f} s by the worker"
            )
            yield Bar("LoRAs equal to those of cold programs", f"{same} of {count}", same == count)

    def again(self) -> Iterator[Bar]:
        """A job that is done is left alone."""
        job = self.place / "again.json"
        [done] = self.spool.glob("000.json.done")
        job.write_text(done.read_text().replace('"../', '"').replace('"out/', '"spool/out/'))
        lora = self.spool / "out" / "000.safetensors"
        before = lora.stat().st_mtime_ns
        began = time.monotonic()
        subprocess.run(self._command("run", job), check=True, capture_output=True)
        seconds = time.monotonic() - began
        untouched = lora.stat().st_mtime_ns == before
        yield Bar("the same job again", f"{seconds:.2f} s", seconds <= AGAIN_BAR and untouched)
        code = (
            "import sys; from semantic_focus.commands.main import main; "
            f"main(['run', sys.argv[1]]); print([name for name in {HEAVY} if name in sys.modules])"
        )
        found = subprocess.run(
            [sys.executable, "-c", code, job], cwd=CHECKOUT, capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]
        yield Bar("  it imports of torch, ComfyUI, fsspec, ray", found, found == "[]")
        began = time.monotonic()
        code = f"import sys, semantic_focus; print([name for name in {HEAVY} if name in sys.modules])"
        found = subprocess.run(
            [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
        ).stdout.strip()
        value = f"{time.monotonic() - began:.2f} s, {found}"
        yield Bar("import of the library", value, found == "[]")


def resident(pid: int) -> int:
    """Bytes that a process holds in memory."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):  # it has ended
        return 0


if __name__ == "__main__":
    sys.exit(main())
