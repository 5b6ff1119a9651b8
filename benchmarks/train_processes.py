"""What several processes make of a training, beside one: gradients, and what is left when one is ended.

    python -m benchmarks.train_processes gradients [--processes 2 3 4] [--families sd3 flux ...]
    python -m benchmarks.train_processes ends [--count 12] [--seed 0]

`gradients`: tiny genuine models of every family, their batches dealt out whole and cut, with adapter dropout,
average, min-SNR, dropped captions and a prior at every second step; and where each process holds a part of
the model only: how far the gradient of the first step is off, as a share of its length, the LoRA after two
steps, and the share of the weights that a process holds.

`ends`: the command `train --processes N` on a small SD3, whole in each process or shared out among them; at a
random moment a random process of it, or the command, gets SIGKILL or SIGTERM. Another life with 1 to 3
processes follows. Counted are lives that ended with another exit code than they should, after more than 30
seconds or with a process left, and trainings whose LoRA or curves are not those of one process that nobody
disturbed.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.photographs import CHECKOUT
from host.serve import comfyui_folder, environment_python

HOST_TESTS = CHECKOUT / "tests" / "host"
FAMILIES = ("sd3", "flux", "z_image", "qwen_image", "wan_video", "sd15", "sdxl_v", "sdxl_edm")
WHOLE, CUT = 1e-6, 1e-5
"""What gradients may be off."""
SECONDS = 30.0
PATIENCE = 600.0
STEPS = 40
CONFIG = """
[model]
path = "{model}"
device = "cpu"
shard = {shard}
[lora]
rank = 4
[training]
steps = {steps}
batch_size = 1
accumulation = 4
learning_rate = 1e-3
gradient_checkpointing = false
save_every = 5
name = "person"
[[dataset.sources]]
cache_directory = "{dataset}"
"""


def gradients(sizes: Sequence[int], families: Sequence[str]) -> bool:
    """Print the table; whether all is within its limit."""
    program = [environment_python(), HOST_TESTS / "measure_processes.py", comfyui_folder()]
    lists = [",".join(map(str, sizes)), ",".join(families)]
    output = subprocess.run(
        [*map(str, program), *lists], env=_variables(), stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    good = True
    for name, found in json.loads(output).items():
        within = found["alike"] and found["gradient"] <= (CUT if ", cut" in name else WHOLE)
        good = good and within
        remark = "" if within else "  TOO FAR"
        errors = f"gradient {found['gradient']:.1e}, LoRA {found['lora']:.1e}"
        print(f"{name:<56} {errors}, weights {found['share']:.0%}{remark}")
    return good


def _variables() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}


@dataclass
class Ends:
    """Lives of a training, and what was wrong with them."""

    folder: Path
    wrong: list[str] = field(default_factory=list)
    config: str = ""
    expected: tuple[bytes, ...] = ()

    def prepare(self) -> None:
        """Write the model, the dataset and the config, and train without a disturbance."""
        model, dataset = self.folder / "model.safetensors", self.folder / "dataset"
        made_by = CHECKOUT / "tests" / "stand_in_model.py"
        subprocess.run([environment_python(), made_by, comfyui_folder(), model], check=True)
        written_by = CHECKOUT / "tests" / "stand_in_dataset.py"
        subprocess.run([environment_python(), written_by, dataset], check=True)
        self.config = CONFIG.format(model=model, dataset=dataset, steps=STEPS, shard="SHARD")
        self.run("alone").communicate(timeout=PATIENCE)
        self.expected = self.result("alone")

    def run(self, name: str, processes: int = 1, shard: bool = False) -> subprocess.Popen[str]:
        """Begin or go on with a training."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        config = self.config.replace("SHARD", str(shard).lower())
        (place / "config.toml").write_text(config, encoding="utf-8")
        command = [environment_python(), CHECKOUT / "semantic_focus", "train", place / "config.toml"]
        command += ["--comfyui", comfyui_folder(), "--processes", str(processes)]
        return subprocess.Popen(
            [*map(str, command)],
            env=_variables(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self, name: str) -> tuple[bytes, ...]:
        """LoRA and curves of a training that is done."""
        output = self.folder / name / "output"
        run = output / "runs" / "person"
        files = output / "person.safetensors", run / "curves.jsonl"
        return tuple(path.read_bytes() if path.is_file() else b"" for path in files)

    def disturb(self, name: str, chance: random.Random) -> None:
        """One life, and its end."""
        size, shard = chance.randint(2, 3), chance.random() < 0.5
        process = self.run(name, size, shard)
        step = chance.randint(1, STEPS // 2)
        assert process.stderr is not None
        for line in process.stderr:
            if f"step {step}/" in line or f"step {step + 1}/" in line:
                break
        time.sleep(chance.random() * 0.3)
        kind = chance.choice((signal.SIGKILL, signal.SIGTERM))
        victim = chance.randrange(size if kind == signal.SIGKILL else size + 1)  # the last: the command
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        pids = [*map(int, children), process.pid]
        began = time.monotonic()
        os.kill(pids[victim], kind)
        process.communicate(timeout=PATIENCE)
        seconds, expected = time.monotonic() - began, 75 if kind == signal.SIGKILL else 143
        left = [pid for pid in pids if Path(f"/proc/{pid}").is_dir()]
        code = process.returncode
        held = "with a part of the model each" if shard else "with the whole model each"
        said = f"{kind.name} to {victim} of {size} {held} at step {step}: exit {code} in {seconds:.1f} s"
        print(said, flush=True)
        if code != expected or seconds > SECONDS or left:
            self.wrong.append(f"{said}, left {left}")

    def finish(self, name: str, chance: random.Random) -> None:
        """The last life; its files are those of an undisturbed one."""
        process = self.run(name, chance.randint(1, 3), chance.random() < 0.5)
        _, messages = process.communicate(timeout=PATIENCE)
        if process.returncode or self.result(name) != self.expected:
            self.wrong.append(f"{name}: exit {process.returncode}, other files than alone\n{messages[-500:]}")


def ends(count: int, seed: int) -> bool:
    """Disturb so many trainings; whether nothing was wrong."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        trainings = Ends(Path(folder))
        trainings.prepare()
        for number in range(count):
            trainings.disturb(str(number), chance)
            trainings.finish(str(number), chance)
        print(f"{count} disturbed, {len(trainings.wrong)} wrong", *trainings.wrong, sep="\n")
        return not trainings.wrong


def main() -> int:
    """Measure; the exit code is 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("gradients", "ends"))
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.what == "gradients":
        return not gradients(options.processes, options.families)
    return not ends(options.count, options.seed)


if __name__ == "__main__":
    sys.exit(main())
