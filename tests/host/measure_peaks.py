"""What test_peaks.py asserts, counted inside a ComfyUI: `python measure_peaks.py COMFYUI` prints JSON.

A program of its own, because it imports ComfyUI.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))
from benchmarks.comfyui import import_comfyui  # noqa: E402
from benchmarks.memory_peaks import ROWS, Row, counted, estimated  # noqa: E402

import_comfyui(Path(sys.argv[1]))
logging.disable(logging.WARNING)

from dataclasses import replace  # noqa: E402

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from benchmarks.memory_models import REAL_MODELS  # noqa: E402
from semantic_focus.comfy.memory.advice import LADDER, advice, choose, judge  # noqa: E402
from semantic_focus.comfy.memory.counted import CannotBeCounted, counting  # noqa: E402
from semantic_focus.comfy.memory.estimate import Estimate, Estimator  # noqa: E402
from semantic_focus.comfy.memory.step_plan import StepPlan  # noqa: E402
from semantic_focus.training.memory import MemorySetting  # noqa: E402

FEW = (
    Row("sd15", "fp16"),
    Row("sdxl", "fp16"),
    Row("sdxl", "fp8", False),
    Row("sdxl", "fp16", swap=50),
    Row("sd35", "bf16", False),
    Row("sd35", "fp8", swap=50),
    Row("zimage", "bf16"),
    Row("zimage", "fp8", False),
    Row("zimage", "bf16", False),
    Row("flux", "bf16"),
    Row("flux", "fp8"),
    Row("flux", "bf16", False),
    Row("flux", "fp8", False),
    Row("flux", "bf16", swap=60),
    Row("wan33", "fp8"),
    Row("wan33", "fp8", swap=100, inputs=True),
    Row("qwen", "bf16"),
    Row("qwen", "fp8", swap=60),
)


def named(row: Row) -> str:
    parts = [row.model, row.dtype, "checkpointing" if row.checkpointing else ""]
    parts += [f"swap {row.swap}" if row.swap else "", "inputs" if row.inputs else ""]
    return " ".join(part for part in parts if part)


def tensors(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, device="meta")


def counting_by_hand() -> list[int]:
    """Live bytes of the device and of RAM while tensors come, share storages and go."""
    model = nn.Linear(256, 4, bias=False, device="meta")  # 4096 bytes
    with counting(model) as live:
        seen = [live.device.now]
        one = tensors(1000)  # 1024 with the allocator's rounding
        view = one[10:]
        seen.append(live.device.now)
        del one
        seen.append(live.device.now)
        del view
        seen.append(live.device.now)
        waiting = tensors(3 << 20).to("cpu")
        seen += [live.device.now, live.ram.now, live.device.peak - 4096]
        del waiting
        seen.append(live.ram.now)
    return seen


class ReadsValues(nn.Module):
    """A block that does more where its input is large."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.max().item() > 1 else x


def measure_unknown() -> str:
    """The message about a network whose steps depend on values."""
    model = REAL_MODELS["flux"]
    patcher = model.patcher("bf16", few=True)
    patcher.model.diffusion_model.img_in = nn.Sequential(ReadsValues(), patcher.model.diffusion_model.img_in)
    try:
        Estimator(patcher, model.conditioning()).estimate(StepPlan(model.latent))
    except CannotBeCounted as error:
        return str(error)
    return ""


def measure_left_alone() -> bool:
    """The MODEL is the same afterwards, tensor by tensor."""
    model = REAL_MODELS["flux"]
    patcher = model.patcher("bf16", few=True)

    def state() -> list[Any]:
        modules = list(patcher.model.modules())
        hooks = [len(it._forward_hooks) + len(it._forward_pre_hooks) for it in modules]
        own = [sorted(vars(it)) for it in modules]
        return [[id(it) for it in patcher.model.parameters()], hooks, own, patcher.model.current_patcher]

    before = state()
    Estimator(patcher, model.conditioning()).estimate(StepPlan(model.latent))
    return state() == before


def measure_advice() -> dict[str, Any]:
    """What is said of a small Flux on devices of several sizes."""
    model = REAL_MODELS["flux"]
    estimator = Estimator(model.patcher("bf16", few=True), model.conditioning())
    plan = StepPlan(model.latent, memory=MemorySetting())
    ladder = [estimator.estimate(replace(plan, memory=setting)) for setting in LADDER]
    least, most = ladder[-1].peak_bytes, ladder[0].peak_bytes
    middle = (least + most) // 2
    automatic = judge(estimator, plan, middle)
    fixed = replace(plan, memory=MemorySetting(0.0))
    changes = advice(estimator, fixed, middle)
    heavy = replace(plan, gradient_checkpointing=False, batch=4)
    together = judge(estimator, heavy, least)
    again = {it.said: it.estimate for it in (*changes, *together.changes)}
    return {
        "ladder": [it.peak_bytes for it in ladder],
        "chosen": [automatic.fits, automatic.estimate.peak_bytes, middle],
        "enough": choose(lambda s: estimator.estimate(replace(plan, memory=s)), most).plan.memory.said(),  # type: ignore[union-attr]
        "too_little": choose(lambda s: estimator.estimate(replace(plan, memory=s)), least - 1) is None,
        "said": [it.said for it in changes],
        "together": [it.said for it in together.changes],
        "all_fit": all(_again(it, middle if said in {c.said for c in changes} else least)
                       for said, it in again.items()),
        "refusal": together.refusal("Flux"),
        "hopeless": judge(estimator, plan, 1 << 20).refusal("Flux"),
        "parts": _parts(ladder[0]),
    }  # fmt: skip


def _again(found: Estimate, free: int) -> bool:
    """Whether a fresh estimate of what was advised fits; that of an fp8 file would need the file."""
    model = REAL_MODELS["flux"]
    fresh = Estimator(model.patcher("bf16", few=True), model.conditioning()).estimate(found.plan)
    return found.fits(free) and (fresh.fits(free) or fresh.weights > found.weights)


def _parts(found: Estimate) -> dict[str, int]:
    names = ("weights", "ring", "adapters", "kept", "transient", "allowance", "peak_bytes")
    return {name: getattr(found, name) for name in names}


def main() -> None:
    barred = [row for row in ROWS if row.bar is not None]
    kept = [row for row in ROWS if row.model in ("sdxl", "flux") and not row.checkpointing]
    whole, told = [counted(row, few=True) for row in FEW], estimated(FEW, few=True)
    found = {
        "counted": {named(it.row): it.peak for it in whole},
        "estimated": {named(it.row): it.peak for it in told},
        "ram": {named(it.row): [it.ram, other.ram] for it, other in zip(told, whole, strict=True)},
        "real": {named(it.row): [it.peak, it.row.limit] for it in estimated([*barred, *kept])},
        "by_hand": counting_by_hand(),
        "unknown": measure_unknown(),
        "left_alone": measure_left_alone(),
        "advice": measure_advice(),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
