"""What benchmarks/train_step.py measures: core's trainer and ours, each run in a process of its own."""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import semantic_focus
from benchmarks import comfyui
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

NEWER_INPUTS: Mapping[str, Any] = {
    "quantized_backward": False,
    "checkpoint_depth": 1,
    "offloading": False,
    "bucket_mode": False,
    "bypass_mode": False,
}
"""Of core's node since 0.28, with their defaults."""


@dataclass(frozen=True)
class Candidate:
    """What is measured: our engine with this objective, or core's trainer where there is none.

    Attributes:
        checkpointing: blocks are recomputed in the backward pass.
        memory: how much of the model waits in RAM (see `MemorySetting.of`); empty: as if there were no such
            setting, since an older version of the code has none.
        core: inputs of core's node beside those that all have; a ComfyUI without them is not measured so.
        code: folder with another `semantic_focus` to measure; None: this one's.
    """

    objective: Objective | None
    layers: str = "all linear layers"
    checkpointing: bool = False
    memory: str = ""
    core: Mapping[str, Any] = field(default_factory=dict)
    code: Path | None = None

    @property
    def period(self) -> int:
        """After how many steps their work repeats itself."""
        return self.objective.prior_every if self.objective else 1


CORE, OURS, BY_REGION, WITH_PRIOR = "TrainLoraNode", "ours, MSE", "ours, 7 regions", "ours, 7 regions, prior"
CORE_HOOKS = "TrainLoraNode, bypass_mode"
OBJECTIVES: Mapping[str, Candidate] = {
    CORE: Candidate(None),
    CORE_HOOKS: Candidate(None, core={"bypass_mode": True}),
    OURS: Candidate(PLAIN),
    BY_REGION: Candidate(REGIONS),
    WITH_PRIOR: Candidate(PRIOR),
    "ours, 7 regions, prior every 2nd step": Candidate(replace(PRIOR, prior_every=2)),
    "ours, MSE, default layers": Candidate(PLAIN, "attention + feed-forward"),
}
HALF, ALL = "ours, MSE, swap 50 %", "ours, MSE, swap 100 %"
MEMORY: Mapping[str, Candidate] = {
    CORE: Candidate(None, checkpointing=True),
    CORE_HOOKS: Candidate(None, checkpointing=True, core={"bypass_mode": True}),
    "TrainLoraNode, bypass_mode, offloading": Candidate(
        None, checkpointing=True, core={"bypass_mode": True, "offloading": True}
    ),
    OURS: Candidate(PLAIN, checkpointing=True),
    WITH_PRIOR: Candidate(PRIOR, checkpointing=True),
    HALF: Candidate(PLAIN, checkpointing=True, memory="swap 50 %"),
    ALL: Candidate(PLAIN, checkpointing=True, memory="swap 100 %"),
    "ours, MSE, not recomputed": Candidate(PLAIN),
}
COMPARED = {"objectives": OBJECTIVES, "memory": MEMORY}
"""What a run measures."""


VERSIONED: Mapping[str, Candidate] = {
    OURS: OBJECTIVES[OURS],
    WITH_PRIOR: OBJECTIVES[WITH_PRIOR],
    f"{WITH_PRIOR}, recomputed": MEMORY[WITH_PRIOR],
}
"""What is measured beside another version of itself."""


def versions(folder: Path) -> dict[str, Candidate]:
    """Our engine as it is, each kind followed by the same with the `semantic_focus` in a folder."""
    found = {}
    for name, candidate in VERSIONED.items():
        found[name] = candidate
        found[before(name)] = replace(candidate, code=folder)
    return found


def before(name: str) -> str:
    """What the same is called with the other code."""
    return f"{name} (other code)"


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
    comfyui.import_comfyui(folder)


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
    if candidate.code and not Path(semantic_focus.__file__).is_relative_to(candidate.code):
        raise RuntimeError(f"{semantic_focus.__file__} was imported, not the code in {candidate.code}")
    torch.set_num_threads(workload.threads)
    import_comfyui(workload.comfyui)
    with torch.inference_mode():  # as when a node of ComfyUI runs
        if candidate.objective is None:
            run_core(candidate, workload, pipe)
        else:
            run_ours(candidate, candidate.objective, workload, pipe)


def known_inputs(comfyui: Path) -> set[str]:
    """Which inputs core's node has, by their names in its source."""
    source = (comfyui / "comfy_extras" / "nodes_train.py").read_text(encoding="utf-8")
    return {name for name in NEWER_INPUTS if f'"{name}"' in source}


def run_core(candidate: Candidate, workload: Workload, pipe: Connection) -> None:
    """TrainLoraNode as its graph would run it; ComfyUI's progress hook is called after each step."""
    import comfy.utils
    from comfy_extras.nodes_train import TrainLoraNode

    patcher = load_model(workload)
    latents = [{"samples": latent} for latent in workload.latents().split(1)]
    newer = {name: NEWER_INPUTS[name] for name in known_inputs(workload.comfyui)}
    newer.update(candidate.core)
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
        gradient_checkpointing=[candidate.checkpointing],
        existing_lora=["[None]"],
        **{name: [value] for name, value in newer.items()},
    )


def memory_options(memory: str) -> dict[str, Any]:
    """Of `velocity_model`."""
    if not memory:
        return {}
    from semantic_focus.training.memory import MemorySetting

    return {"memory": MemorySetting.of(memory)}


def run_ours(candidate: Candidate, objective: Objective, workload: Workload, pipe: Connection) -> None:
    """The engine of our nodes, with its default settings where core has no such input."""
    from semantic_focus.comfy.model import latents_for_model, velocity_model

    patcher = load_model(workload)
    prompts: list[Any] = [workload.prompt()] * BATCH
    options = memory_options(candidate.memory)
    with velocity_model(patcher, prompts, candidate.checkpointing, **options) as velocity:
        latents = latents_for_model(patcher, [workload.latents()])
        data = TrainingPictures(tuple(latents), (workload.masks(),) * BATCH, tuple(WEIGHTS))
        adapter = AdapterSettings(rank=RANK, alpha=1.0)
        adapters = LoraAdapters(linear_layers(velocity.network, candidate.layers), adapter, seed=0)
        settings = TrainingSettings(
            steps=workload.steps, batch_size=BATCH, learning_rate=LEARNING_RATE, schedule="constant"
        )
        turns = Turns(pipe, workload.steps)
        trainer = Trainer(velocity, adapters, data, objective, settings)
        with adapters.attached():
            for _ in range(workload.steps):
                trainer.step()
                turns()
