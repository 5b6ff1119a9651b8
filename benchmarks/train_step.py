"""Time and memory of one training step beside ComfyUI's own trainer, TrainLoraNode, on the same model.

    python -m benchmarks.train_step [objectives | memory] [--comfyui PATH] [--depth 8] [--grid 64] [--steps 6]
    python -m benchmarks.train_step --beside FOLDER [...]

The model is an SD3 with random weights (depth 8: 95 million parameters) that ComfyUI's loader recognises;
two latents of noise, batch 2, rank 16, fp32, AdamW. Core adapts every layer with a weight, and trains a
difference to every bias; ours is measured on all linear layers, which comes nearest to that, and on the
layers it chooses by default. `objectives`: everything is kept for the backward pass. `memory`: blocks are
recomputed on both sides, or wait in RAM. Of core its own settings are measured too, where its version has
them. `--beside`: our engine beside another version of itself, the `semantic_focus` in that folder.

Every candidate runs in a process of its own, so that its peak memory is its own: the highest resident set
size, with program and model. They take turns step by step, forwards and backwards, so that whatever else the
machine does falls on all alike. Times are medians over the steps without the first. CPU time, that of all
threads, decides: other programs hardly change it, but can double what the wall clock shows from one step to
the next.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.photographs import CHECKOUT
from benchmarks.train_step_candidates import (
    ALL,
    BATCH,
    BY_REGION,
    COMPARED,
    CORE,
    HALF,
    OURS,
    PATCH,
    RANK,
    TEXT_TOKENS,
    VERSIONED,
    WITH_PRIOR,
    Candidate,
    Step,
    Workload,
    before,
    known_inputs,
    run,
    versions,
    write_model,
)

BARS: Mapping[str, Sequence[tuple[str, str, float]]] = {
    "objectives": ((OURS, CORE, 0.65), (BY_REGION, OURS, 1.05), (WITH_PRIOR, OURS, 1.5)),
    "memory": ((OURS, CORE, 0.65), (HALF, OURS, 1.1), (ALL, OURS, 1.2)),
    "versions": tuple((name, before(name), 1.02) for name in VERSIONED),
}
"""By what is compared: what the first may take at most, as a multiple of the second."""

ONE_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(2**32 - 1), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
"""For glibc: memory that was given back is kept. Else two versions that compute the same differ by up to five
percent of CPU time, by how often each has its pages taken away and brought back.
"""


def measure(candidates: Mapping[str, Candidate], workload: Workload) -> dict[str, list[Step]]:
    """All steps of all candidates, which take turns."""
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=write_model, args=(workload,))
    writer.start()
    writer.join()
    if writer.exitcode:
        raise RuntimeError("the model could not be written, see above")
    pipes, processes = {}, []
    for name, candidate in candidates.items():
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=run, args=(candidate, workload, theirs), daemon=True))
        with importing_from(candidate.code):
            processes[-1].start()
        theirs.close()
    steps: dict[str, list[Step]] = {name: [] for name in candidates}
    for number in range(1, workload.steps + 1):
        for name in list(pipes)[:: 1 if number % 2 else -1]:
            pipe = pipes[name]
            pipe.send("go")
            try:
                steps[name].append(pipe.recv())
            except EOFError as error:
                raise RuntimeError(f"{name} ended in step {number}, see above") from error
            took = f"{steps[name][-1].wall:.1f} s, CPU {steps[name][-1].cpu:.2f} s"
            print(f"step {number}, {name}: {took}", file=sys.stderr, flush=True)
    for process in processes:
        process.join()
    return steps


@contextmanager
def importing_from(folder: Path | None) -> Iterator[None]:
    """A process that begins meanwhile imports from this folder first."""
    if folder:
        sys.path.insert(0, os.fspath(folder))
    try:
        yield
    finally:
        if folder:
            sys.path.remove(os.fspath(folder))


@dataclass(frozen=True)
class Cost:
    """Of one candidate: seconds per step (median and least by the clock, median of CPU time), peak bytes."""

    wall: float
    least: float
    cpu: float
    peak: int


def cost(steps: Sequence[Step], period: int = 1) -> Cost:
    """What the steps took, without the first; where each `period` of steps repeats itself, a mean over it."""

    def typical(seconds: Sequence[float], of: Callable[[Sequence[float]], float]) -> float:
        return statistics.mean(of(seconds[phase::period]) for phase in range(period))

    wall, cpu = [step.wall for step in steps[1:]], [step.cpu for step in steps[1:]]
    return Cost(
        typical(wall, statistics.median), typical(wall, min), typical(cpu, statistics.median), steps[-1].peak
    )


def paired(one: Sequence[Step], other: Sequence[Step]) -> float:
    """Median of the ratios of CPU times, step by step, without the first: a machine that slows down slows
    both.
    """
    return statistics.median(a.cpu / b.cpu for a, b in zip(one[1:], other[1:], strict=True))


def report(costs: Mapping[str, Cost], bars: Sequence[tuple[str, str, float]]) -> str:
    """The table and the bars, as Markdown; ratios are to core's trainer, if it takes part, and to our MSE."""
    core, ours = costs.get(CORE), costs[OURS]
    lines = [
        "| | s/step | least | CPU s/step | CPU / core's | CPU / our MSE | peak | peak / core's |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, own in costs.items():
        of_core = (f"{own.cpu / core.cpu:.2f}", f"{own.peak / core.peak:.2f}") if core else ("", "")
        lines.append(
            f"| {name} | {own.wall:.2f} | {own.least:.2f} | {own.cpu:.2f} | {of_core[0]} "
            f"| {own.cpu / ours.cpu:.2f} | {own.peak / 2**20:.0f} MiB | {of_core[1]} |"
        )
    lines.append("")
    for one, other, limit in bars:
        a, b = costs[one], costs[other]
        wall = f"s/step {a.wall / b.wall:.2f}, least {a.least / b.least:.2f}"
        lines.append(f"- CPU time, {one} / {other}: {_judged(a.cpu / b.cpu, limit)} ({wall})")
    for name, own in costs.items():
        if core and not name.startswith(CORE):
            lines.append(f"- peak, {name} / {CORE}: {_judged(own.peak / core.peak, 1.0)}")
    return "\n".join(lines)


def _judged(ratio: float, limit: float) -> str:
    return f"{ratio:.2f}, at most {limit:.2f}: {'holds' if ratio <= limit else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a training step beside ComfyUI's TrainLoraNode.")
    parser.add_argument("compared", nargs="?", choices=tuple(COMPARED), default="objectives")
    parser.add_argument("--beside", type=Path, help="measure our engine beside the semantic_focus in there")
    parser.add_argument("--comfyui", type=Path, default=CHECKOUT / ".cache" / "comfyui")
    parser.add_argument("--depth", type=int, default=8, help="blocks of the SD3; width is 64 * depth")
    parser.add_argument("--grid", type=int, default=64, help="side of the latents; a token is 2 x 2 cells")
    parser.add_argument("--steps", type=int, default=6, help="steps of each; the first is left out")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.steps < 3:
        parser.error(f"--steps is {given.steps}: at least 3 are needed, because the first is left out")
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # else CPU time counts threads that only wait
    if given.beside:
        os.environ.update(ONE_ALLOCATION)
        compared, candidates = "versions", versions(given.beside.resolve())
    else:
        known, compared = known_inputs(given.comfyui), given.compared
        candidates = {name: it for name, it in COMPARED[compared].items() if known.issuperset(it.core)}
    with tempfile.TemporaryDirectory() as folder:
        workload = Workload(
            given.comfyui,
            Path(folder) / "sd3.safetensors",
            given.depth,
            given.grid,
            given.steps,
            given.threads,
        )
        steps = measure(candidates, workload)
        parameters = workload.model.stat().st_size / 4e6
    print(
        f"{compared}: SD3 of {parameters:.0f} M parameters, {(given.grid // PATCH) ** 2} image and "
        f"{TEXT_TOKENS} text tokens, batch {BATCH}, rank {RANK}, fp32, {given.threads} threads, "
        f"{given.steps} steps; load average {os.getloadavg()[0]:.1f}\n"
    )
    costs = {name: cost(taken, candidates[name].period) for name, taken in steps.items()}
    print(report(costs, BARS[compared]))
    for one, other, _limit in BARS[compared] if given.beside else ():
        print(f"- step by step, {one} / {other}: {paired(steps[one], steps[other]):.3f}")


if __name__ == "__main__":
    main()
