"""Counted peak memory of a training step of models of real size, beside what it was before and what is asked
for.

    python -m benchmarks.memory_peaks                 everything, minutes
    python -m benchmarks.memory_peaks flux wan33      some models
    python -m benchmarks.memory_peaks --estimates     by one block of each kind, seconds

Nothing is computed and no device is needed, see semantic_focus/comfy/memory/counted.py. Batch 1, rank 16 on
attention and feed-forward, AdamW, prior; a step as each is from the second on. To what is counted comes what
is no tensor: 1.0 to 1.5 GiB.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comfyui import import_comfyui

CHECKOUT = Path(__file__).resolve().parents[1]
GIB = 2**30


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        model: a name of `REAL_MODELS`.
        dtype: of its weights.
        checkpointing: blocks are recomputed.
        swap: percent of the blocks that wait in RAM.
        inputs: those of the blocks wait there too.
        before: GiB that it took before frozen layers kept nothing, to a decimal; None: not known.
        bar: GiB that it may take; None: no bar.
    """

    model: str
    dtype: str
    checkpointing: bool = True
    swap: int = 0
    inputs: bool = False
    before: float | None = None
    bar: float | None = None

    @property
    def limit(self) -> float:
        """GiB, with what the decimal leaves open."""
        limits = [self.bar, None if self.before is None else self.before + 0.05]
        return min((limit for limit in limits if limit is not None), default=float("inf"))


ROWS = (
    Row("sd15", "fp16"),
    Row("sd15", "fp16", False),
    Row("sdxl", "fp16", before=6.2),
    Row("sdxl", "fp16", False, before=11.7),
    Row("sdxl", "fp8", before=4.3),
    Row("sdxl", "fp8", False, before=13.3),
    Row("sdxl", "fp16", swap=50, bar=5),
    Row("sd35", "bf16"),
    Row("sd35", "bf16", False),
    Row("sd35", "fp8"),
    Row("sd35", "bf16", swap=80),
    Row("zimage", "bf16", before=14.1),
    Row("zimage", "bf16", False, before=40.8),
    Row("zimage", "fp8", before=8.7),
    Row("zimage", "fp8", False, before=46.2),
    Row("zimage", "bf16", swap=65, bar=7.2),
    Row("flux", "bf16", before=25.3),
    Row("flux", "bf16", False, before=58.3),
    Row("flux", "fp8", before=14.3),
    Row("flux", "fp8", False, before=63.1),
    Row("flux", "bf16", swap=85, bar=9),
    Row("flux", "fp8", swap=80, bar=6.2),
    Row("wan", "bf16", before=30.2),
    Row("wan", "fp8", before=17.5),
    Row("wan", "fp8", swap=80, bar=7.5),
    Row("wan33", "fp8", before=24.1),
    Row("wan33", "fp8", swap=80, inputs=True, bar=11),
    Row("qwen", "bf16", before=41.4),
    Row("qwen", "bf16", False, before=69.6),
    Row("qwen", "fp8", before=22.7),
    Row("qwen", "fp8", swap=80, bar=8.5),
    Row("qwen", "bf16", swap=95, bar=8),
)


@dataclass(frozen=True)
class Measured:
    """A row's peak and what waits in RAM, in bytes, and the seconds that it took to find out."""

    row: Row
    peak: int
    ram: int
    seconds: float


def counted(row: Row, few: bool = False) -> Measured:
    """A row's peak, by a whole step."""
    from semantic_focus.comfy.memory.step_plan import StepPlan, count_training
    from semantic_focus.training.memory import MemorySetting

    from .memory_models import REAL_MODELS

    begun = time.perf_counter()
    model = REAL_MODELS[row.model]
    plan = StepPlan(
        model.latent,
        gradient_checkpointing=row.checkpointing,
        memory=MemorySetting(row.swap / 100, row.inputs),
    )
    step = count_training(model.patcher(row.dtype, few), model.conditioning(), plan)
    return Measured(row, step.peak, step.ram, time.perf_counter() - begun)


def estimated(rows: Iterable[Row], few: bool = False) -> list[Measured]:
    """The rows' peaks as a user is told them, without the allowance for what is no tensor."""
    from semantic_focus.comfy.memory.estimate import Estimator
    from semantic_focus.comfy.memory.step_plan import StepPlan
    from semantic_focus.training.memory import MemorySetting

    from .memory_models import REAL_MODELS

    found, estimators = [], {}
    for row in rows:
        begun = time.perf_counter()
        model = REAL_MODELS[row.model]
        if (row.model, row.dtype) not in estimators:
            estimators = {
                (row.model, row.dtype): Estimator(model.patcher(row.dtype, few), model.conditioning())
            }
        plan = StepPlan(
            model.latent,
            gradient_checkpointing=row.checkpointing,
            memory=MemorySetting(row.swap / 100, row.inputs),
        )
        estimate = estimators[row.model, row.dtype].estimate(plan)
        found.append(Measured(row, estimate.tensors, estimate.ram, time.perf_counter() - begun))
    return found


def report(found: Sequence[Measured]) -> str:
    """The table, as Markdown."""
    from .memory_models import REAL_MODELS

    lines = [
        "| model | weights | checkpointing | swap | peak GiB | before | at most | | RAM GiB | s |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for it in found:
        row = it.row
        swap = f"{row.swap} %{', inputs' if row.inputs else ''}" if row.swap or row.inputs else ""
        holds = it.peak / GIB <= row.limit
        judged = "" if row.limit == float("inf") else "holds" if holds else "MISSED"
        lines.append(
            f"| {REAL_MODELS[row.model].name} | {row.dtype} | {'on' if row.checkpointing else 'off'} "
            f"| {swap} | {it.peak / GIB:.2f} | {_number(row.before)} | {_number(row.bar)} | {judged} "
            f"| {it.ram / GIB:.1f} | {it.seconds:.1f} |"
        )
    peaks = {(it.row.model, it.row.dtype): it.peak for it in found if not it.row.checkpointing}
    for (model, dtype), peak in peaks.items():
        wide = next((peaks[model, other] for other in ("bf16", "fp16") if (model, other) in peaks), None)
        if dtype == "fp8" and wide:
            lines.append(
                f"\n{REAL_MODELS[model].name} without checkpointing, fp8 against 16 bit: "
                f"{(peak - wide) / GIB:+.2f} GiB, {'holds' if peak < wide else 'MISSED'}"
            )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the peak memory of training steps.")
    parser.add_argument("models", nargs="*", help="names of benchmarks/memory_models.py; none: all")
    parser.add_argument("--comfyui", type=Path, default=CHECKOUT / ".cache" / "comfyui")
    parser.add_argument(
        "--estimates", action="store_true", help="what users are told instead of a whole step"
    )
    given = parser.parse_args()
    import_comfyui(given.comfyui)
    logging.disable(logging.WARNING)
    rows = [row for row in ROWS if not given.models or row.model in given.models]
    if given.estimates:
        found = estimated(rows)
    else:
        found = []
        for row in rows:
            found.append(counted(row))
            print(f"{row}: {found[-1].peak / GIB:.2f} GiB", file=sys.stderr, flush=True)
    print(report(found))


if __name__ == "__main__":
    main()
