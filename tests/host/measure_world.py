"""What test_world.py asserts, measured inside a ComfyUI: `python measure_world.py COMFYUI`, as JSON.

A program of its own, because it imports ComfyUI. Everything of benchmarks/world, once, in its smallest form.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks.comfyui import import_comfyui  # noqa: E402
from benchmarks.world import report  # noqa: E402
from benchmarks.world.__main__ import SMALL  # noqa: E402
from benchmarks.world.base import (  # noqa: E402
    Pretrainer,
    draw_material,
    ensure_base,
    fit_codec,
    load_in_comfyui,
)
from benchmarks.world.flow import velocity  # noqa: E402
from benchmarks.world.persons import REPORTED  # noqa: E402
from benchmarks.world.recipes import RECIPES  # noqa: E402
from benchmarks.world.runs import SETTINGS, Results, Task, run  # noqa: E402
from benchmarks.world.text import PhraseEncoder, encode  # noqa: E402
from benchmarks.world.world import judge, load_world  # noqa: E402

torch.set_num_threads(1)
PROMPT = "person sks, pink bun hair"


def pretraining_resumed(folder: Path) -> float:
    """Largest difference of the weights between two steps in one go, and two with a file between them."""
    material = draw_material(SMALL, fit_codec(SMALL))
    through, first, second = (Pretrainer(SMALL, material) for _ in range(3))
    through.step()
    through.step()
    first.step()
    first.save(folder / "unfinished.pt")
    second.load(folder / "unfinished.pt")
    second.step()
    pairs = zip(through.model.parameters(), second.model.parameters(), strict=True)
    return max((one - two).abs().max().item() for one, two in pairs)


def in_comfyui(path: Path) -> dict[str, object]:
    """The file as ComfyUI's own loader sees it, beside the network that the benchmark uses."""
    world = load_world(SMALL, path.parent, reader_steps=2)
    patcher, vae = load_in_comfyui(path)
    inner = patcher.model
    noisy = torch.randn(1, 16, 12, 12, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.6])
    context, pooled = PhraseEncoder().encode_from_tokens_scheduled(PhraseEncoder().tokenize(PROMPT))[0]
    with torch.no_grad():
        # what ComfyUI calls denoised is x - sigma * v
        denoised = inner.apply_model(noisy, sigma, c_crossattn=context, y=pooled["pooled_output"])
        tokens, own_pooled = encode(PROMPT)
        own = velocity(world.model, noisy, sigma, tokens[None], own_pooled[None])
    pixels = torch.rand(1, 100, 96, 3, generator=torch.Generator().manual_seed(1))
    return {
        "class": type(inner).__name__,
        "difference": ((noisy - denoised) / 0.6 - own).abs().max().item(),
        "size": own.abs().max().item(),
        "latent": list(vae.encode(pixels).shape),
        "picture": list(vae.decode(vae.encode(pixels)).shape),
    }


def main() -> None:
    import_comfyui(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = ensure_base(SMALL, folder)
        world, results = load_world(SMALL, folder, reader_steps=2), Results(folder / "runs")
        for recipe in RECIPES:
            results.add(*run(world, Task("p1", recipe), replace(SETTINGS, steps=1), share=0.04))
        table = report.tables(results.rows().values(), list(RECIPES))
        report.grid_of(results, REPORTED[:1], folder / "grid.png", world.reader)
        measured = {
            "resumed": pretraining_resumed(folder),
            "comfyui": in_comfyui(path),
            "judged": {kind: sorted(found) for kind, found in judge(world, 4).items()},
            "rows": [line.split("|")[1].strip("* ") for line in table.splitlines()[4:]],
            "recipes": list(RECIPES),
            "grid": (folder / "grid.png").stat().st_size,
            "left": sorted(path.suffix for path in folder.glob("unfinished_*")),
        }
    sys.stdout.write(json.dumps(measured) + "\n")


main()
