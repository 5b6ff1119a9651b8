"""The main job on this machine alone: photographs -> regions -> masks -> LoRA, in a real ComfyUI over HTTP.

    python -m demo.run

The shared workflow `workflows/train_person_lora.json` runs as it is, but for its Load Checkpoint node: a
real checkpoint cannot be had offline, so a stand-in takes its place (see demo/README.md). It runs twice, once
with the person preset and once with the regions switched off, and both LoRAs are measured on pictures and
noise that neither was trained on. Everything to look at is written to demo_output/.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from demo import graphs, pictures
from host.serve import ComfyServer, PromptFailed, PromptRejected, ServerError, comfyui_folder

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / ".cache" / "demo"
OUTPUT = CHECKOUT / "demo_output"
WORKFLOW = CHECKOUT / "workflows" / "api" / "train_person_lora.json"

STEPS = 200
SIDE = 128
SETTINGS = {
    graphs.FIT: {"resolution": SIDE, "multiple_of": 16},
    graphs.TRAIN: {
        "steps": STEPS,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "rank": 8,
        "alpha": 8.0,
        "gradient_checkpointing": False,
        "recipe": "off",
    },
    graphs.PROMPT: {"text": "astronaut woman portrait wide left low"},
    graphs.EMPTY: {"width": SIDE, "height": SIDE, "batch_size": 4},
    graphs.SAMPLE: {"cfg": 2.0},
}
"""Sizes for a model of a few million parameters at 128 pixels; everything else is as the workflow has it."""

RUNS = {
    "whole picture": {graphs.OBJECTIVE: {"enabled": False, "preset": "custom"}},
    "by region": {},
}
"""The two trainings: the same steps, seed and pictures, with the regions off and on."""


def main() -> int:
    """Run the demo; 0 when everything was made."""
    started = time.monotonic()
    OUTPUT.mkdir(exist_ok=True)
    try:
        model = base_model()
        folders = pictures.prepare(CHECKOUT / ".cache" / "photographs", CACHE / "pictures")
        base = CACHE / "comfyui"
        place(model, base / "models" / "diffusion_models" / model.name)
        say("starting ComfyUI")
        with ComfyServer(base, extra_custom_nodes=[CHECKOUT / "demo" / "standins"]) as server:
            graph = graphs.with_stand_ins(graphs.load_workflow(WORKFLOW), model.name)
            overlays(server, graph, folders)
            results = {name: train(server, graph, folders, name) for name in RUNS}
    except (ServerError, PromptFailed, PromptRejected, subprocess.CalledProcessError, OSError) as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    samples(results, OUTPUT / "samples.png")
    table = report(results)
    (OUTPUT / "report.json").write_text(json.dumps(table, indent=2) + "\n")
    print_table(table)
    print(f"\n{time.monotonic() - started:.0f} s. Look at {OUTPUT.relative_to(CHECKOUT)}/: ", end="")
    print(", ".join(sorted(path.name for path in OUTPUT.iterdir())))
    return 0


def say(what: str) -> None:
    """One line of progress."""
    print(f"[demo] {what}", flush=True)


def base_model() -> Path:
    """The small base model, trained on first use in a process of its own (it imports ComfyUI)."""
    say("base model (trained once, then kept)")
    command = [sys.executable, str(CHECKOUT / "demo" / "pretrain.py")]
    command += ["--comfyui", str(comfyui_folder()), "--cache", str(CACHE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            print(f"       {lines[-1]}", flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "demo/pretrain.py")
    return Path(lines[-1])


def place(source: Path, link: Path) -> None:
    """Let ComfyUI find a file under its models folder."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.unlink(missing_ok=True)
        os.symlink(source.resolve(), link)


def overlays(server: ComfyServer, graph: graphs.Graph, folders: pictures.Folders) -> None:
    """Draw the regions over photographs of people; one overlay_<picture>.png each."""
    for folder in (folders.people, folders.subject):
        files = sorted(folder.glob("*.png"))
        say(f"segmenting {len(files)} pictures of {folder.name}/")
        history = server.run(graphs.overlay_graph(graph, folder, "overlay"))
        for file, reference in zip(files, history["outputs"][graphs.SAVE]["images"], strict=True):
            (OUTPUT / f"overlay_{file.stem}.png").write_bytes(server.view(reference))


def train(server: ComfyServer, graph: graphs.Graph, folders: pictures.Folders, name: str) -> dict[str, Any]:
    """One training with its measurement and samples: {"regions": rows, "before": pictures, "after":
    pictures}.
    """
    say(f"training {STEPS} steps, {name}")
    changes = SETTINGS | {graphs.DATASET: {"folder": str(folders.subject)}} | RUNS[name]
    trained = graphs.with_comparison(graphs.with_inputs(graph, changes), folders.held_out)
    started = time.monotonic()
    outputs = server.run(trained, timeout=1800)["outputs"]
    say(f"trained, measured and sampled in {time.monotonic() - started:.0f} s")
    slug = name.replace(" ", "_")
    newest = max(
        (server.base_directory / "output" / "loras").glob("my_person_*"), key=lambda p: p.stat().st_mtime
    )
    shutil.copyfile(newest, OUTPUT / f"astronaut_{slug}.safetensors")
    plot = server.view(outputs[graphs.REPORT]["images"][0])
    (OUTPUT / ("loss.png" if name == "by region" else f"loss_{slug}.png")).write_bytes(plot)
    untrained = graphs.with_inputs(trained, {graphs.APPLY_LORA: {"strength_model": 0.0}})
    before = server.run(untrained, timeout=600)["outputs"][graphs.SHOW]
    return {
        "regions": json.loads(outputs[graphs.COMPARE]["semantic_focus_report"][0]),
        "before": [picture(server, reference) for reference in before["images"]],
        "after": [picture(server, reference) for reference in outputs[graphs.SHOW]["images"]],
    }


def picture(server: ComfyServer, reference: dict[str, str]) -> Image.Image:
    """A picture that a node showed."""
    return Image.open(io.BytesIO(server.view(reference))).convert("RGB")


def samples(results: dict[str, dict[str, Any]], path: Path) -> None:
    """A grid: one row for the base model and one per LoRA, one column per seed."""
    rows = {"base model": next(iter(results.values()))["before"]}
    rows |= {f"LoRA, {name}": result["after"] for name, result in results.items()}
    side, label = 2 * SIDE, 24
    columns = len(rows["base model"])
    grid = Image.new("RGB", (columns * side, len(rows) * (side + label)), "white")
    draw = ImageDraw.Draw(grid)
    for row, (name, shown) in enumerate(rows.items()):
        top = row * (side + label)
        draw.text((6, top + 5), name, fill="black", font_size=14)
        for column, sample in enumerate(shown):
            grid.paste(sample.resize((side, side), Image.Resampling.BICUBIC), (column * side, top + label))
    grid.save(path)


def report(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The table as data: per region the held-out error of the base model and of both LoRAs, and their
    drift.
    """
    by_name = {name: {row["region"]: row for row in result["regions"]} for name, result in results.items()}
    whole, region = by_name["whole picture"], by_name["by region"]
    weights = graphs.load_workflow(WORKFLOW)[graphs.OBJECTIVE]["inputs"]
    return {
        "steps": STEPS,
        "regions": [
            {
                "region": name,
                "weight": weights.get(f"{name}_weight", weights["global_fallback"]),
                "coverage": row["coverage"],
                "error_base": row["error_before"],
                "error_whole_picture": whole[name]["error_after"],
                "error_by_region": row["error_after"],
                "drift_whole_picture": whole[name]["drift"],
                "drift_by_region": row["drift"],
            }
            for name, row in region.items()
            if row["error_before"] == row["error_before"]  # NaN: the region is in no picture
        ],
    }


def print_table(table: dict[str, Any]) -> None:
    """The report for people."""
    print(
        "\nHeld-out velocity error (mean square) and drift from the base model, same steps for both LoRAs:\n"
    )
    print(f"{'':24}{'velocity error':^32}{'drift':^24}")
    heads = ("region", "weight", "cover", "base", "whole pict.", "by region", "whole pict.", "by region")
    print(
        f"{heads[0]:<12}{heads[1]:>6}{heads[2]:>7}{heads[3]:>9}{heads[4]:>13}{heads[5]:>11}{heads[6]:>13}{heads[7]:>11}"
    )
    for row in table["regions"]:
        print(
            f"{row['region']:<12}{row['weight']:>6.1f}{row['coverage']:>7.1%}{row['error_base']:>9.3f}"
            f"{row['error_whole_picture']:>13.3f}{row['error_by_region']:>11.3f}"
            f"{row['drift_whole_picture']:>13.4f}{row['drift_by_region']:>11.4f}"
        )


if __name__ == "__main__":
    sys.exit(main())
