"""What a folder of large photographs takes of a server's memory, from the files to the LoRA.

    python -m benchmarks.dataset_memory [--pictures 40] [--megapixels 12] [--keep LORA] [--compare LORA]

One ComfyUI with a small model runs the shared workflow train_person_lora over HTTP on photographs of the
set-up that are cut, changed and enlarged by chance of one seed. Told are the server's resident memory before
the first picture, and while each node runs the most of it and what stays. A LoRA that other code has made of
the same pictures (--keep) can be compared (--compare). Ends with 1 when the bar is missed. Linux only: the
peaks are read from /proc.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import torch
from PIL import Image, ImageEnhance
from safetensors.torch import load_file

from benchmarks.photographs import CHECKOUT
from benchmarks.soak import small_graph
from host.serve import ComfyServer, comfyui_folder, environment_python

PHOTOGRAPHS = CHECKOUT / ".cache" / "photographs"
MEGA = 1_000_000
BAR = 3.0
"""GiB above what the server has before the first picture."""
GRAIN = 4.0
"""Standard deviation of what is added to each of 256 levels, so that the files are as large as a camera's."""
RUN = "memory"


@dataclass
class Taken:
    """GiB of resident memory while a node ran: the most, and at its end."""

    most: float
    left: float


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of a server that trains on large photographs.")
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--keep", type=Path, metavar="LORA", help="where the LoRA is kept")
    parser.add_argument("--compare", type=Path, metavar="LORA", help="one of the same pictures and settings")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dataset_memory_") as place:
        folder = Path(place) / "pictures"
        folder.mkdir()
        make_photographs(folder, options.pictures, options.megapixels)
        idle, taken, lora = run(Path(place), folder, options.resolution, options.steps)
    print(f"{options.pictures} photographs of {options.megapixels:g} megapixels, idle {idle:.2f} GiB")
    print(f"{'':<28}{'most':>8}{'left':>8}   GiB above idle")
    for name, one in taken.items():
        print(f"{name:<28}{one.most - idle:>8.2f}{one.left - idle:>8.2f}")
    peak = max(one.most for one in taken.values()) - idle
    print(f"{'peak':<28}{peak:>8.2f}")
    if options.keep:
        options.keep.write_bytes(lora)
    if options.compare:
        print(
            f"largest difference from {options.compare.name}, relative: {difference(lora, options.compare)}"
        )
    return int(peak > BAR)


def make_photographs(folder: Path, count: int, megapixels: float, seed: int = 0) -> None:
    """So many JPEGs of this size with captions, upright or wide by chance."""
    chance = random.Random(seed)
    sources = [Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.glob("*.*g"))]
    for number in range(count):
        source = sources[number % len(sources)]
        sides = sorted((round((megapixels * MEGA * 3 / 4) ** 0.5), round((megapixels * MEGA * 4 / 3) ** 0.5)))
        size = (sides[0], sides[1]) if chance.random() < 0.5 else (sides[1], sides[0])
        scale = chance.uniform(0.85, 1) * min(source.width / size[0], source.height / size[1])
        width, height = size[0] * scale, size[1] * scale
        left, top = chance.uniform(0, source.width - width), chance.uniform(0, source.height - height)
        box = (left, top, left + width, top + height)
        picture = source.resize(size, Image.Resampling.BICUBIC, box)
        if chance.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = ImageEnhance.Brightness(picture).enhance(chance.uniform(0.8, 1.2))
        grain = np.random.default_rng(seed + number).normal(0, GRAIN, (size[1], size[0], 1))
        pixels = (np.asarray(picture, dtype=np.float32) + grain.astype(np.float32)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.jpg", quality=92)
        (folder / f"{number:03}.txt").write_text(f"a photograph, number {number}")


def run(place: Path, folder: Path, resolution: int, steps: int) -> tuple[float, dict[str, Taken], bytes]:
    """GiB of the idle server, what was taken by node, and the LoRA file."""
    base = place / "comfyui"
    model = base / "models" / "diffusion_models" / "small.safetensors"
    model.parent.mkdir(parents=True)
    made_by = CHECKOUT / "tests" / "stand_in_model.py"
    subprocess.run([environment_python(), made_by, comfyui_folder(), model], check=True)
    graph = small_graph(folder, model.name)
    graph["4"]["inputs"].update(resolution=resolution, multiple_of=64)
    graph["9"]["inputs"].update(steps=steps, seed=7, run_name=RUN, save_every=0)
    with ComfyServer(base, extra_custom_nodes=[CHECKOUT / "host" / "standins"]) as server:
        memory = Memory(server.process_id)
        idle = memory.now()
        taken = Watched(server, graph, memory).run()
    (lora,) = (base / "output" / "semantic_focus" / RUN).glob("lora_*.safetensors")
    return idle, taken, lora.read_bytes()


class Memory:
    """Resident memory of a process, in GiB."""

    def __init__(self, process: int):
        self._folder = Path("/proc") / str(process)

    def now(self) -> float:
        return self._field("VmRSS")

    def most(self) -> float:
        """Since the last call."""
        most = self._field("VmHWM")
        (self._folder / "clear_refs").write_text("5")
        return most

    def _field(self, name: str) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 2**20


class Watched:
    """A prompt that runs while its server's memory is told by node."""

    def __init__(self, server: ComfyServer, graph: Mapping[str, Any], memory: Memory):
        self._server, self._graph, self._memory = server, graph, memory
        self._taken: dict[str, Taken] = {}
        self._listening = threading.Event()

    def run(self) -> dict[str, Taken]:
        """By class of node, in the order in which they ran."""
        listener = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        listener.start()
        self._listening.wait()
        answer = self._server._json("/prompt", {"prompt": self._graph, "client_id": RUN})
        self._server.wait(answer["prompt_id"], timeout=7200)
        listener.join()
        return self._taken

    async def _listen(self) -> None:
        running = None
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self._server.url}/ws?clientId={RUN}", max_msg_size=0) as events,
        ):
            self._listening.set()
            async for event in events:
                if event.type != aiohttp.WSMsgType.TEXT:
                    continue
                told = event.json()
                if told["type"] in ("execution_error", "execution_interrupted"):
                    return
                if told["type"] != "executing":
                    continue
                most, node = self._memory.most(), told["data"]["node"]
                if running is not None:
                    name = f"{running} {self._graph[running]['class_type'].removeprefix('SemanticFocus')}"
                    before = self._taken.get(name, Taken(0, 0)).most
                    self._taken[name] = Taken(max(most, before), self._memory.now())
                if node is None:
                    return
                running = node


def difference(lora: bytes, other: Path) -> str:
    """Of the largest tensor difference, by the largest value of that tensor."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(lora)
        file.flush()
        ours, theirs = load_file(file.name), load_file(other)
    if ours.keys() != theirs.keys():
        return "they have different tensors"
    if all(torch.equal(ours[key], theirs[key]) for key in ours):
        return "0, the same to the bit"
    shares = [
        float(
            (ours[key].float() - theirs[key].float()).abs().max()
            / theirs[key].float().abs().max().clamp_min(1e-12)
        )
        for key in ours
    ]
    return f"{max(shares):.2e}"


if __name__ == "__main__":
    sys.exit(main())
