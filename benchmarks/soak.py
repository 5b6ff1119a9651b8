"""Whether a server stays as it is over many trainings: queued, cancelled at random, stopped and finished.

    python -m benchmarks.soak [--rounds 200] [--steps 2000] [--seed 0] [--plot docs/reliability.png]

One ComfyUI with a small model trains on two photographs, from segmentation to LoRA. Three of four rounds are
cancelled: at once, after the first step, or half way. After each round its process is measured: resident
memory, open files, threads. Flat: in the last quarter of the rounds they are not above the second one by more
than the bars. Linux only: it reads /proc.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.photographs import CHECKOUT
from host.serve import ComfyServer, PromptInterrupted, comfyui_folder, environment_python

PHOTOGRAPH = CHECKOUT / ".cache" / "photographs" / "astronaut.png"
WORKFLOW = CHECKOUT / "workflows" / "api" / "train_person_lora.json"
TRAINED = tuple(map(str, range(1, 12)))
"""Nodes of the workflow up to the LoRA and its report."""
SMALL = {
    "SemanticFocusFit": {"resolution": 128, "multiple_of": 16},
    "SemanticFocusTrain": {
        "rank": 4,
        "alpha": 4.0,
        "learning_rate": 1e-3,
        "save_every": 5,
        "resume": False,
        "recipe": "off",
    },
}

MEMORY_BAR = 0.03
"""Growth of resident memory that is not seen as one."""
COUNT_BAR = 2
"""The same of open files and threads."""


@dataclass(frozen=True)
class Sample:
    """The server's process after a round, and the training steps done so far."""

    memory: float
    files: int
    threads: int
    steps: int


class Soak:
    """A server, and rounds of trainings on it."""

    def __init__(self, server: ComfyServer, graph: dict[str, Any], chance: random.Random):
        self._server, self._graph, self._chance = server, graph, chance
        self._process = Path("/proc") / str(server.process_id)
        self._runs = server.base_directory / "output" / "semantic_focus"
        self.samples: list[Sample] = []
        self.cancelled = self.finished = self._steps = 0

    def round(self, number: int, steps: int) -> None:
        """Queue one training; three of four are cancelled at a moment of chance."""
        training = self._graph["9"]["inputs"]
        training.update(run_name=f"round_{number:04}", steps=steps, seed=number)
        ticket = self._server.queue(self._graph)
        if number % 4:
            self._cancel(training["run_name"], self._chance.choice((None, 0, steps // 2)))
        try:
            self._server.wait(ticket)
            self.finished += 1
        except PromptInterrupted:
            self.cancelled += 1
        self._steps += self._done(training["run_name"])
        self.samples.append(self._sample())

    def _cancel(self, name: str, after: int | None) -> None:
        """Interrupt at once, or when so many steps are done."""
        while after is not None and self._done(name) < after + 1 and self._server.is_busy():
            time.sleep(0.01)
        self._server.interrupt()

    def _done(self, name: str) -> int:
        curves = self._runs / name / "curves.jsonl"
        return len(curves.read_text().splitlines()) if curves.is_file() else 0

    def _sample(self) -> Sample:
        status = (self._process / "status").read_text()
        values = dict(line.split(":", 1) for line in status.splitlines())
        return Sample(
            int(values["VmRSS"].split()[0]) / 1024,
            len(list((self._process / "fd").iterdir())),
            int(values["Threads"]),
            self._steps,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether a server stays as it is over many trainings.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2000, help="training steps that are done at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak_") as place:
        soak = run(Path(place), options.rounds, options.steps, options.seed)
    if options.plot:
        plot(soak.samples, options.plot)
    print(f"{len(soak.samples)} rounds, {soak.cancelled} cancelled, {soak.samples[-1].steps} steps")
    is_flat = True
    for name, bar, values in (
        ("resident memory, MB", None, [sample.memory for sample in soak.samples]),
        ("open files", COUNT_BAR, [sample.files for sample in soak.samples]),
        ("threads", COUNT_BAR, [sample.threads for sample in soak.samples]),
    ):
        early, late = levels(values)
        holds = late - early <= (early * MEMORY_BAR if bar is None else bar)
        is_flat &= holds
        print(f"{name:<22}{early:>9.0f} ->{late:>9.0f}   {'flat' if holds else 'GROWS'}")
    return int(not is_flat)


def run(place: Path, rounds: int, steps: int, seed: int) -> Soak:
    """So many rounds in a new folder, and more until so many steps are done."""
    folder = place / "pictures"
    folder.mkdir()
    with Image.open(PHOTOGRAPH) as photograph:
        for index, box in enumerate(((60, 0, 380, 320), (40, 0, 400, 480))):
            photograph.convert("RGB").crop(box).save(folder / f"{index}.png")
            (folder / f"{index}.txt").write_text("a woman in an orange suit")
    base = place / "comfyui"
    model = base / "models" / "diffusion_models" / "small.safetensors"
    model.parent.mkdir(parents=True)
    made_by = CHECKOUT / "tests" / "stand_in_model.py"
    command = [environment_python(), made_by, comfyui_folder(), model]
    subprocess.run(command, check=True)
    graph = small_graph(folder, model.name)
    with ComfyServer(base, extra_custom_nodes=[CHECKOUT / "host" / "standins"]) as server:
        soak = Soak(server, graph, random.Random(seed))
        number = 0
        while number < rounds or soak.samples[-1].steps < steps:
            # three of four are cancelled half way on average, so that this is enough
            soak.round(number, steps=2 * steps // rounds)
            number += 1
        return soak


def small_graph(folder: Path, model: str) -> dict[str, Any]:
    """The shared workflow up to the LoRA, in sizes that train in a second."""
    whole = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    graph = {name: whole[name] for name in TRAINED}
    for node in graph.values():
        if node["class_type"] == "CheckpointLoaderSimple":
            node.update(class_type="SemanticFocusStandInCheckpoint", inputs={"model_file": model})
        if "folder" in node["inputs"]:
            node["inputs"]["folder"] = str(folder)
        node["inputs"].pop("preview", None)  # samples are not what is looked at here
        node["inputs"].update(SMALL.get(node["class_type"], {}))
    return graph


def levels(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the second and of the last quarter; in the first one caches fill."""
    quarter = max(len(values) // 4, 1)
    return statistics.median(values[quarter : 2 * quarter] or values), statistics.median(values[-quarter:])


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Memory, files and threads over the rounds, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, name, values in zip(
        figure.subplots(1, 3),
        ("resident memory, MB", "open files", "threads"),
        zip(*((sample.memory, sample.files, sample.threads) for sample in samples), strict=True),
        strict=True,
    ):
        axes.plot(values, linewidth=1)
        axes.set(title=name, xlabel="round", ylim=(0, 1.15 * max(values)))
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
