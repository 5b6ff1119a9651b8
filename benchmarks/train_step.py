"""Time and memory of one training step beside ComfyUI's own trainer, TrainLoraNode, on the same model.

    python -m benchmarks.train_step [--comfyui PATH] [--depth 8] [--grid 64] [--steps 6] [--threads 2]

The model is an SD3 with random weights (depth 8: 95 million parameters) that ComfyUI's loader recognises; two
latents of noise, batch 2, rank 16, fp32, AdamW, the same gradient checkpointing on both sides. Core adapts
every layer with a weight, and trains a difference to every bias; ours is measured on all linear layers, which
comes nearest to that, and on the layers it chooses by default.

Every candidate runs in a process of its own, so that its peak memory is its own: the highest resident set
size, with program and model. They take turns step by step, so that whatever else the machine does falls on
all alike. Times are medians over the steps without the first. CPU time, that of all threads, decides: other
programs hardly change it, but can double what the wall clock shows from one step to the next.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.photographs import CHECKOUT
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.trainer import Trainer

CHANNELS, PATCH = 16, 2
CONTEXT, POOLED, TEXT_TOKENS = 4096, 2048, 154
"""SD3's text embeddings; its prompt is 77 tokens of CLIP and 77 of T5."""
BATCH, RANK = 2, 16
LEARNING_RATE = 1e-4

WEIGHTS = {
    "face": 1.0, "hair": 0.6, "body": 0.5, "clothing": 0.8, "hands": 0.5, "background": 0.1, "lighting": 0.3,
}  # fmt: skip
REGIONS = Objective(weights=WEIGHTS, global_fallback=0.0, prior_weight=0.0)
PRIOR = replace(REGIONS, prior_weight=4.0)
PLAIN = Objective(enabled=False, cosine_weight=0.0)


@dataclass(frozen=True)
class Candidate:
    """What is measured: our engine with this objective, or core's trainer where there is none."""

    objective: Objective | None
    layers: str = "all linear layers"

    @property
    def period(self) -> int:
        """After how many steps their work repeats itself."""
        return self.objective.prior_every if self.objective else 1


CORE, OURS, BY_REGION, WITH_PRIOR = "TrainLoraNode", "ours, MSE", "ours, 7 regions", "ours, 7 regions, prior"
CANDIDATES: Mapping[str, Candidate] = {
    CORE: Candidate(None),
    OURS: Candidate(PLAIN),
    BY_REGION: Candidate(REGIONS),
    WITH_PRIOR: Candidate(PRIOR),
    "ours, 7 regions, prior every 2nd step": Candidate(replace(PRIOR, prior_every=2)),
    "ours, MSE, default layers": Candidate(PLAIN, "attention + feed-forward"),
}
TIME_BARS = ((OURS, CORE, 0.65), (BY_REGION, OURS, 1.05), (WITH_PRIOR, OURS, 1.5))
"""What the first may take at most, as a multiple of the second."""


@dataclass(frozen=True)
class Workload:
    """What every candidate is given.

    Attributes:
        model: the model's file.
        grid: side of the latents in cells.
    """

    comfyui: Path
    model: Path
    depth: int
    grid: int
    steps: int
    threads: int
    checkpointing: bool

    def latents(self) -> Tensor:
        """Float[2, 16, grid, grid], as VAE Encode would give them."""
        return torch.randn(BATCH, CHANNELS, self.grid, self.grid, generator=torch.Generator().manual_seed(1))

    def prompt(self) -> list[Any]:
        """ComfyUI's CONDITIONING."""
        generator = torch.Generator().manual_seed(2)
        context = torch.randn(1, TEXT_TOKENS, CONTEXT, generator=generator)
        return [[context, {"pooled_output": torch.randn(1, POOLED, generator=generator)}]]

    def masks(self) -> Tensor:
        """Float[7, grid, grid]: one band of rows per region; an eighth of the picture is in none."""
        band = torch.arange(self.grid) * (len(WEIGHTS) + 1) // self.grid
        masks = torch.stack([band == region for region in range(len(WEIGHTS))]).float()
        return masks[:, :, None].repeat(1, 1, self.grid)


@dataclass(frozen=True)
class Step:
    """One training step: wall clock and CPU seconds, and the most bytes that were resident so far."""

    wall: float
    cpu: float
    peak: int


class Turns:
    """Called after each step: reports it, and waits until the next may begin."""

    def __init__(self, pipe: Connection, steps: int):
        self._pipe, self._left = pipe, steps
        self._wait()

    def _wait(self) -> None:
        self._pipe.recv()
        self._begun = time.perf_counter(), time.process_time()

    def __call__(self, *_progress: Any, **_preview: Any) -> None:
        wall, cpu = time.perf_counter() - self._begun[0], time.process_time() - self._begun[1]
        unit = 1 if sys.platform == "darwin" else 1024
        self._pipe.send(Step(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit))
        self._left -= 1
        if self._left:
            self._wait()


def import_comfyui(folder: Path) -> None:
    """Make ComfyUI importable, before this pack's own `nodes`; on the CPU, with torch's attention."""
    if not (folder / "comfy_extras" / "nodes_train.py").is_file():
        raise FileNotFoundError(f"{folder} is no ComfyUI with TrainLoraNode: pass its folder as --comfyui")
    sys.path.insert(0, os.fspath(folder.resolve()))
    from comfy.cli_args import args

    args.cpu = True
    args.use_pytorch_cross_attention = True


def write_model(workload: Workload) -> None:
    """Write an SD3 with random weights; its width is 64 · depth."""
    import_comfyui(workload.comfyui)
    from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper
    from safetensors.torch import save_file

    network = OpenAISignatureMMDITWrapper(
        patch_size=PATCH,
        in_channels=CHANNELS,
        depth=workload.depth,
        adm_in_channels=POOLED,
        context_embedder_config={
            "target": "torch.nn.Linear",
            "params": {"in_features": CONTEXT, "out_features": 64 * workload.depth},
        },
        num_patches=192**2,
        pos_embed_max_size=192,
        dtype=torch.float32,
        operations=torch.nn,
    )
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"model.diffusion_model.{name}": torch.randn(tensor.shape, generator=generator) * 0.02
        for name, tensor in network.state_dict().items()
    }
    save_file(tensors, workload.model)


def load_model(workload: Workload) -> Any:
    """ComfyUI's MODEL."""
    import comfy.sd

    return comfy.sd.load_diffusion_model(str(workload.model), model_options={"dtype": torch.float32})


def run(candidate: Candidate, workload: Workload, pipe: Connection) -> None:
    """Train in a process of its own, one step whenever the other end of the pipe asks for it."""
    torch.set_num_threads(workload.threads)
    import_comfyui(workload.comfyui)
    with torch.inference_mode():  # as when a node of ComfyUI runs
        if candidate.objective is None:
            run_core(workload, pipe)
        else:
            run_ours(candidate.objective, candidate.layers, workload, pipe)


def run_core(workload: Workload, pipe: Connection) -> None:
    """TrainLoraNode as its graph would run it; ComfyUI's progress hook is called after each step."""
    import comfy.utils
    from comfy_extras.nodes_train import TrainLoraNode

    patcher = load_model(workload)
    latents = [{"samples": latent} for latent in workload.latents().split(1)]
    comfy.utils.set_progress_bar_global_hook(Turns(pipe, workload.steps))
    TrainLoraNode.execute(
        model=[patcher],
        latents=latents,
        positive=[workload.prompt()],
        batch_size=[BATCH],
        steps=[workload.steps],
        grad_accumulation_steps=[1],
        learning_rate=[LEARNING_RATE],
        rank=[RANK],
        optimizer=["AdamW"],
        loss_function=["MSE"],
        seed=[0],
        training_dtype=["fp32"],
        lora_dtype=["fp32"],
        algorithm=["LoRA"],
        gradient_checkpointing=[workload.checkpointing],
        existing_lora=["[None]"],
    )


def run_ours(objective: Objective, layers: str, workload: Workload, pipe: Connection) -> None:
    """The engine of our nodes, with its default settings where core has no such input."""
    from semantic_focus.comfy.model import latents_for_model, velocity_model

    patcher = load_model(workload)
    prompts: list[Any] = [workload.prompt()] * BATCH
    with velocity_model(patcher, prompts, workload.checkpointing) as velocity:
        latents = latents_for_model(patcher, [workload.latents()])
        data = TrainingPictures(tuple(latents), (workload.masks(),) * BATCH, tuple(WEIGHTS))
        adapter = AdapterSettings(rank=RANK, alpha=1.0)
        adapters = LoraAdapters(linear_layers(velocity.network, layers), adapter, seed=0)
        settings = TrainingSettings(
            steps=workload.steps, batch_size=BATCH, learning_rate=LEARNING_RATE, schedule="constant"
        )
        turns = Turns(pipe, workload.steps)
        trainer = Trainer(velocity, adapters, data, objective, settings)
        with adapters.attached():
            for _ in range(workload.steps):
                trainer.step()
                turns()


def measure(workload: Workload) -> dict[str, list[Step]]:
    """All steps of all candidates, which take turns."""
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=write_model, args=(workload,))
    writer.start()
    writer.join()
    if writer.exitcode:
        raise RuntimeError("the model could not be written, see above")
    pipes, processes = {}, []
    for name, candidate in CANDIDATES.items():
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=run, args=(candidate, workload, theirs), daemon=True))
        processes[-1].start()
        theirs.close()
    steps: dict[str, list[Step]] = {name: [] for name in CANDIDATES}
    for number in range(1, workload.steps + 1):
        for name, pipe in pipes.items():
            pipe.send("go")
            try:
                steps[name].append(pipe.recv())
            except EOFError as error:
                raise RuntimeError(f"{name} ended in step {number}, see above") from error
            took = f"{steps[name][-1].wall:.1f} s, CPU {steps[name][-1].cpu:.1f} s"
            print(f"step {number}, {name}: {took}", file=sys.stderr, flush=True)
    for process in processes:
        process.join()
    return steps


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


def report(costs: Mapping[str, Cost]) -> str:
    """The table and the bars, as Markdown."""
    core, ours = costs[CORE], costs[OURS]
    lines = [
        "| | s/step | least | CPU s/step | CPU / core's | CPU / our MSE | peak | peak / core's |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, own in costs.items():
        lines.append(
            f"| {name} | {own.wall:.2f} | {own.least:.2f} | {own.cpu:.2f} | {own.cpu / core.cpu:.2f} "
            f"| {own.cpu / ours.cpu:.2f} | {own.peak / 2**20:.0f} MiB | {own.peak / core.peak:.2f} |"
        )
    lines.append("")
    for one, other, limit in TIME_BARS:
        a, b = costs[one], costs[other]
        wall = f"s/step {a.wall / b.wall:.2f}, least {a.least / b.least:.2f}"
        lines.append(f"- CPU time, {one} / {other}: {_judged(a.cpu / b.cpu, limit)} ({wall})")
    for name, own in costs.items():
        if name != CORE:
            lines.append(f"- peak, {name} / {CORE}: {_judged(own.peak / core.peak, 1.0)}")
    return "\n".join(lines)


def _judged(ratio: float, limit: float) -> str:
    return f"{ratio:.2f}, at most {limit:.2f}: {'holds' if ratio <= limit else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a training step beside ComfyUI's TrainLoraNode.")
    parser.add_argument("--comfyui", type=Path, default=CHECKOUT / ".cache" / "comfyui")
    parser.add_argument("--depth", type=int, default=8, help="blocks of the SD3; width is 64 * depth")
    parser.add_argument("--grid", type=int, default=64, help="side of the latents; a token is 2 x 2 cells")
    parser.add_argument("--steps", type=int, default=6, help="steps of each; the first is left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true", help="recompute blocks, on both sides")
    given = parser.parse_args()
    if given.steps < 3:
        parser.error(f"--steps is {given.steps}: at least 3 are needed, because the first is left out")
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # else CPU time counts threads that only wait
    with tempfile.TemporaryDirectory() as folder:
        workload = Workload(
            given.comfyui, Path(folder) / "sd3.safetensors", given.depth, given.grid, given.steps,
            given.threads, given.checkpointing,
        )  # fmt: skip
        steps = measure(workload)
        parameters = workload.model.stat().st_size / 4e6
    print(
        f"SD3 of {parameters:.0f} M parameters, {(given.grid // PATCH) ** 2} image and {TEXT_TOKENS} text "
        f"tokens, batch {BATCH}, rank {RANK}, fp32, {given.threads} threads, {given.steps} steps, gradient "
        f"checkpointing {'on' if given.checkpointing else 'off'}; load average {os.getloadavg()[0]:.1f}\n"
    )
    print(report({name: cost(taken, CANDIDATES[name].period) for name, taken in steps.items()}))


if __name__ == "__main__":
    main()
