"""Time and memory of semantic_cosine_loss beside the loop over regions, a cosine over the whole and MSE.

python -m benchmarks.loss [--rounds 60] [--threads 2]

Every candidate runs forward and backward once per round, in an order that is shuffled anew for each round, so
that whatever else the machine does falls on all alike; times are medians over the rounds. Ratios are taken
within a round first, then their median.

Extra memory is what torch's allocator handed out (torch.profiler: scratch space within an operation counts, a
BLAS library's own does not) at its highest, in units of v_pred and without the inputs: of the forward pass
alone, and of forward and backward less the gradient of v_pred, which every candidate has to give.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from semantic_focus import semantic_cosine_loss

SHAPE = (4, 16, 128, 128)
WEIGHTS = {"face": 1.0, "hair": 0.5, "body": 0.8, "clothing": 0.6, "hands": 0.1, "sky": 0.3, "ground": 0.1}
LOSS = "semantic_cosine_loss"

Loss = Callable[[Tensor, Tensor], Tensor]


def loop_over_regions(pred: Tensor, target: Tensor, masks: dict[str, Tensor]) -> Tensor:
    """What one writes first: mask both velocities, take their cosine, one region after the other."""
    total, below = pred.new_zeros(()), 0.0
    for name, weight in WEIGHTS.items():
        mask = masks[name].unsqueeze(1)
        cosine = F.cosine_similarity((pred * mask).flatten(1), (target * mask).flatten(1))
        total = total + weight * (1 - cosine).mean()
        below += weight
    return total / below


def candidates(masks: dict[str, Tensor]) -> dict[str, Loss]:
    return {
        "loop over the regions": lambda p, t: loop_over_regions(p, t, masks),
        "cosine of the whole": lambda p, t: (1 - F.cosine_similarity(p.flatten(1), t.flatten(1))).mean(),
        "mse_loss": F.mse_loss,
        LOSS: lambda p, t: semantic_cosine_loss(p, t, masks, WEIGHTS),
        "  with a residual": lambda p, t: semantic_cosine_loss(p, t, masks, WEIGHTS, 0.1),
        "  with magnitude": lambda p, t: semantic_cosine_loss(p, t, masks, WEIGHTS, magnitude_weight=1.0),
        "  per pixel": lambda p, t: semantic_cosine_loss(p, t, masks, WEIGHTS, cosine="pixel"),
    }


def times(losses: dict[str, Loss], pred: Tensor, target: Tensor, rounds: int) -> list[dict[str, float]]:
    """Milliseconds of every candidate in every round; three rounds more run first, and are left out."""
    rows = []
    shuffled = random.Random(0)
    for _ in range(rounds + 3):
        row = {}
        for name in shuffled.sample(list(losses), len(losses)):
            begun = time.perf_counter()
            losses[name](pred, target).backward()
            row[name] = (time.perf_counter() - begun) * 1e3
            pred.grad = None
        rows.append(row)
    return rows[3:]


def highest_memory(run: Callable[[], object]) -> int:
    """Most bytes that torch's allocator held at once of what was allocated during the run."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    results = profiler.profiler
    assert results is not None and results.kineto_results is not None
    events: list[Any] = results.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in changes), initial=0))


def extra_memory(loss: Loss, pred: Tensor, target: Tensor) -> tuple[float, float]:
    """Highest memory of the forward pass, and of both without the gradient, as shares of v_pred."""
    size = pred.untyped_storage().nbytes()
    forward = highest_memory(lambda: loss(pred, target))
    both = highest_memory(lambda: loss(pred, target).backward())
    pred.grad = None
    return forward / size, both / size - 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of semantic_cosine_loss.")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    pred, target = torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE)
    parts = torch.rand(SHAPE[0], len(WEIGHTS), *SHAPE[2:])
    masks = {
        name: mask.contiguous()
        for name, mask in zip(WEIGHTS, (parts / parts.sum(1, keepdim=True)).unbind(1), strict=True)
    }
    losses = candidates(masks)
    rows = times(losses, pred, target, options.rounds)
    print(
        f"{list(SHAPE)} float32, {len(WEIGHTS)} regions, {options.threads} threads, {options.rounds} rounds"
    )
    print(f"{'forward and backward':<24}{'ms':>8}{'least':>8}{'/ MSE':>8}{'forward':>10}{'both':>10}")
    for name, loss in losses.items():
        column = [row[name] for row in rows]
        to_mse = statistics.median(row[name] / row["mse_loss"] for row in rows)
        forward, backward = extra_memory(loss, pred, target)
        print(
            f"{name:<24}{statistics.median(column):>8.2f}{min(column):>8.2f}{to_mse:>8.2f}"
            f"{forward:>9.2f}x{backward:>9.2f}x"
        )
    print("extra memory in units of v_pred, without the inputs; both: less the gradient")
    for name, limit in (("loop over the regions", ">= 18"), ("cosine of the whole", ">= 2.2")):
        medians = statistics.median(r[name] for r in rows) / statistics.median(r[LOSS] for r in rows)
        ratio = statistics.median(row[name] / row[LOSS] for row in rows)
        print(f"{LOSS} is {ratio:.1f}x as fast as the {name} (medians: {medians:.1f}x, aim {limit})")


if __name__ == "__main__":
    main()
