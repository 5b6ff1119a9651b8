"""What the validation while training takes of its time, and the look at the end.

    python -m benchmarks.validation [--comfyui PATH] [--depth 4] [--grid 32] [--steps 300]

The SD3 with random weights of `benchmarks.train_step`; ten latents of noise, rank 16, fp32, AdamW, through
`run_training` into a folder, as a node trains. Within one run everything that the validation adds (its
passes, and writing the best state and LoRA) is timed by itself: the ratio is that of the whole to the whole
without it, so that a machine that slows down slows both. CPU time is that of all threads.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.photographs import CHECKOUT
from benchmarks.train_step_candidates import (
    LEARNING_RATE,
    PLAIN,
    PRIOR,
    RANK,
    WEIGHTS,
    Workload,
    import_comfyui,
    load_model,
    write_model,
)
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.metadata import lora_metadata
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training import run as running
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.run_folder import RunFolder
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.trainer import Trainer
from semantic_focus.training.validation import Validation, ValidationSettings

PICTURES = 10
LIMIT = 1.03


@dataclass(frozen=True)
class Case:
    """One training that is measured."""

    objective: Objective
    batch_size: int = 1
    checkpointing: bool = False


CASES: Mapping[str, Case] = {
    "MSE": Case(PLAIN),
    "7 regions, prior": Case(PRIOR),
    "7 regions, prior, recomputed": Case(PRIOR, checkpointing=True),
    "7 regions, prior, batch 4": Case(PRIOR, 4),
}


@dataclass
class Timed:
    """Seconds by the clock and of CPU that some calls took."""

    wall: float = 0.0
    cpu: float = 0.0
    calls: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count what is done within."""
        begun = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - begun[0]
        self.cpu += time.process_time() - begun[1]
        self.calls += 1

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with all its calls counted."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.one():
                return function(*arguments, **named)

        return timed


@dataclass(frozen=True)
class Taken:
    """What a training took, and within it its validations, the files of the best step, and the end's look."""

    whole: Timed = field(default_factory=Timed)
    measured: Timed = field(default_factory=Timed)
    kept: Timed = field(default_factory=Timed)
    looked: Timed = field(default_factory=Timed)

    def ratio(self, clock: str) -> float:
        """The whole over the whole without validation."""
        whole, extra = getattr(self.whole, clock), getattr(self.measured, clock) + getattr(self.kept, clock)
        return whole / (whole - extra)


def measure(case: Case, workload: Workload, patcher: Any, folder: Path) -> Taken:
    """Train once, with validations as they come automatically."""
    from semantic_focus.comfy.model import latents_for_model, velocity_model

    taken = Taken()
    with velocity_model(patcher, [workload.prompt()] * PICTURES, case.checkpointing) as velocity:
        generator = torch.Generator().manual_seed(3)
        shape = (PICTURES, 16, workload.grid, workload.grid)
        latents = latents_for_model(patcher, [torch.randn(shape, generator=generator)])
        data = TrainingPictures(tuple(latents), (workload.masks(),) * PICTURES, tuple(WEIGHTS))
        adapter = AdapterSettings(rank=RANK, alpha=1.0)
        adapters = LoraAdapters(linear_layers(velocity.network, "all linear layers"), adapter, seed=0)
        settings = TrainingSettings(
            steps=workload.steps, batch_size=case.batch_size, learning_rate=LEARNING_RATE
        )
        trainer = Trainer(velocity, adapters, data, case.objective, settings, {}, ValidationSettings("auto"))
        folder.mkdir()
        run = RunFolder(folder)
        run.claim()
        validation = trainer.validation
        assert isinstance(validation, Validation)
        validation.measure = taken.measured.each(validation.measure)
        run.save_best = taken.kept.each(run.save_best)
        judge = running.verdict
        running.verdict = taken.looked.each(judge)
        try:
            with taken.whole.one():
                header = lora_metadata(adapters.state_dict(), "comfyui")
                running.run_training(trainer, run, metadata=header)
        finally:
            running.verdict = judge
    return taken


def report(found: Mapping[str, Taken]) -> str:
    """The table, as Markdown."""
    lines = [
        "| | validations | CPU ratio | wall ratio | of it files | look at the end, CPU | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, taken in found.items():
        ratio = taken.ratio("cpu")
        held = "holds" if ratio <= LIMIT else "MISSED"
        lines.append(
            f"| {name} | {taken.measured.calls} | {ratio:.4f} | {taken.ratio('wall'):.4f} "
            f"| {taken.kept.wall / taken.whole.wall:.2%} | {taken.looked.cpu / taken.whole.cpu:.2%} "
            f"| at most {LIMIT:.2f}: {held} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the validation while training takes.")
    parser.add_argument("--comfyui", type=Path, default=CHECKOUT / ".cache" / "comfyui")
    parser.add_argument("--depth", type=int, default=4, help="blocks of the SD3; width is 64 * depth")
    parser.add_argument("--grid", type=int, default=32, help="side of the latents; a token is 2 x 2 cells")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workload = Workload(
            given.comfyui, root / "sd3.safetensors", given.depth, given.grid, given.steps, given.threads
        )
        write_model(workload)
        import_comfyui(given.comfyui)
        patcher = load_model(workload)
        parameters = workload.model.stat().st_size / 4e6
        for number, (name, case) in enumerate(CASES.items()):
            fewer = replace(workload, steps=max(1, workload.steps // case.batch_size))
            found[name] = measure(case, fewer, patcher, root / str(number))
            print(f"{name}: {found[name].ratio('cpu'):.4f} of CPU time", file=sys.stderr, flush=True)
    print(
        f"SD3 of {parameters:.0f} M parameters, {(given.grid // 2) ** 2} image tokens, {PICTURES} pictures\n"
    )
    print(report(found))


if __name__ == "__main__":
    main()
