"""The main job on this machine alone, in a real ComfyUI over HTTP: pictures -> regions -> LoRA -> samples.

    python -m demo.run

Photographs are segmented. Then `workflows/api/train_person_lora.json` trains three LoRAs of a drawn person,
as it is but for its Load Checkpoint node: a real checkpoint cannot be had offline, so a stand-in takes its
place (see README.md in this folder). What is seen on their samples is counted. Everything to look at is
written to demo_output/.
"""

import io
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.world.base import CACHE as WORLD
from benchmarks.world.base import QUICK, Pretraining
from benchmarks.world.persons import other_scenes
from benchmarks.world.recipes import BASE
from benchmarks.world.world import QUICK_READER_STEPS, READER_STEPS, load_world
from demo import graphs, person, photographs
from demo.person import ASKED, PERSON, PICTURES
from demo.report import TITLES, write_report
from demo.trainings import OBJECTIVES, SETTINGS, STEPS, with_objective
from host.serve import ComfyServer, PromptFailed, PromptRejected, ServerError

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / ".cache" / "demo"
OUTPUT = CHECKOUT / "demo_output"
WORKFLOW = CHECKOUT / "workflows" / "api" / "train_person_lora.json"

THREADS = 2


def main() -> int:
    """Run the demo; 0 when everything was made."""
    started = time.monotonic()
    torch.set_num_threads(THREADS)
    OUTPUT.mkdir(exist_ok=True)
    try:
        settings, reader_steps = base_settings()
        world = load_world(settings, WORLD, reader_steps)
        people = CACHE / "photographs"
        photographs.prepare(CHECKOUT / ".cache" / "photographs", people)
        comfyui = CACHE / "comfyui"
        place(settings.path(WORLD), comfyui / "models" / "diffusion_models" / settings.path(WORLD).name)
        say("starting ComfyUI")
        with ComfyServer(comfyui, extra_custom_nodes=[CHECKOUT / "demo" / "standins"]) as server:
            graph = graphs.with_world(graphs.load_workflow(WORKFLOW), settings.path(WORLD).name)
            overlays(server, graph, people)
            samples = trained_samples(server, graph)
    except (ServerError, PromptFailed, PromptRejected, OSError) as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    about = {"person": PERSON.name, "steps": STEPS, "samples": ASKED, "base model": asdict(settings)}
    write_report(samples, world.reader, PERSON, about, OUTPUT)
    seconds = time.monotonic() - started
    print(f"\n{seconds:.0f} s. Look at {OUTPUT.relative_to(CHECKOUT)}/grid.png; beside it: ", end="")
    print(", ".join(sorted(path.name for path in OUTPUT.iterdir() if path.name != "grid.png")))
    return 0


def say(what: str) -> None:
    """One line of progress."""
    print(f"[demo] {what}", flush=True)


def base_settings() -> tuple[Pretraining, int]:
    """Of the base model, and steps of the reader: the benchmark's where that is made, else quick ones."""
    full = Pretraining()
    if full.path(WORLD).is_file():
        say("base model: the one of benchmarks/world")
        return full, READER_STEPS
    say("base model: a quick one, " + ("made before" if QUICK.path(WORLD).is_file() else "made now and kept"))
    return QUICK, QUICK_READER_STEPS


def place(source: Path, link: Path) -> None:
    """Let ComfyUI find a file under its models folder."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.unlink(missing_ok=True)
        os.symlink(source.resolve(), link)


def overlays(server: ComfyServer, graph: graphs.Graph, folder: Path) -> None:
    """Draw the regions over photographs of people; one overlay_<picture>.png each."""
    files = sorted(folder.glob("*.png"))
    say(f"segmenting {len(files)} photographs")
    history = server.run(graphs.overlay_graph(graph, folder, "overlay"))
    for file, reference in zip(files, history["outputs"][graphs.SAVE]["images"], strict=True):
        (OUTPUT / f"overlay_{file.stem}.png").write_bytes(server.view(reference))


def trained_samples(server: ComfyServer, graph: graphs.Graph) -> dict[str, Tensor]:
    """Train the LoRAs; recipe -> samples Float[N, S, S, 3], those of the base model among them. Before them
    all: what a perfect LoRA would give.
    """
    learnt, asked = CACHE / "training", CACHE / "asked_for"
    person.write_training(PERSON, PICTURES, learnt)
    samples = {"asked for, drawn": person.write_asked(PERSON, other_scenes(PERSON, ASKED), asked)}
    graph = graphs.with_inputs(graph, {**SETTINGS, graphs.DATASET: {"folder": str(learnt)}})
    graph = graphs.with_prompts(graph, asked, ASKED)
    say(f"{ASKED} samples of the base model")
    samples[BASE.name] = pictures(server, server.run(graphs.without_lora(graph))["outputs"])
    for recipe in OBJECTIVES:
        samples[recipe] = train(server, with_objective(graph, recipe), TITLES[recipe])
    return samples


def train(server: ComfyServer, graph: graphs.Graph, title: str) -> Tensor:
    """One training; its samples Float[N, S, S, 3]. LoRA and curves are left in demo_output."""
    say(f"LoRA, {title}: {STEPS} steps, {ASKED} samples")
    slug = title.replace(" ", "_")
    named = {graphs.TRAIN: {"run_name": slug}, graphs.SAVE: {"prefix": f"loras/{slug}"}}
    started = time.monotonic()
    outputs = server.run(graphs.with_inputs(graph, named), timeout=1800)["outputs"]
    say(f"done in {time.monotonic() - started:.0f} s")
    saved = (server.base_directory / "output" / "loras").glob(f"{slug}_*")
    shutil.copyfile(max(saved, key=lambda path: path.stat().st_mtime), OUTPUT / f"lora_{slug}.safetensors")
    (OUTPUT / f"loss_{slug}.png").write_bytes(server.view(outputs[graphs.REPORT]["images"][0]))
    return pictures(server, outputs)


def pictures(server: ComfyServer, outputs: dict[str, Any]) -> Tensor:
    """The samples that a run showed, Float[N, S, S, 3]."""
    files = [server.view(reference) for reference in outputs[graphs.SHOW]["images"]]
    arrays = [np.array(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(arrays)).float() / 255


if __name__ == "__main__":
    sys.exit(main())
