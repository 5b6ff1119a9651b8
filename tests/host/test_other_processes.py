"""Trainings of a graph outside of ComfyUI: saved as a job, or in several processes that the node starts."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file

from .graphs import OPTIONS, PATIENCE, Graph, curves, failure, lora_of, node, run_folder, same, train

if TYPE_CHECKING:
    from host.serve import ComfyServer

SECONDS = 60
"""In which all processes have to end, and ComfyUI has to answer meanwhile, however busy the machine is."""


def saved_job(server: "ComfyServer", graph: Graph, name: str) -> tuple[Path, str]:
    """The folder that Save Training Job writes with the inputs of LoRA Train Step, and its command."""
    inputs = {**graph["9"]["inputs"], "run_name": name}
    kept = {key: it for key, it in graph.items() if key not in ("9", "10")}
    job = node("SemanticFocusSaveJob", **{k: v for k, v in inputs.items() if k not in ("resume", "preview")})
    [text] = server.run({**kept, "job": job})["outputs"]["job"]["text"]
    folder, _, command, *_ = text.splitlines()
    return Path(folder), command.strip()


def run(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, shell=True, capture_output=True, text=True, timeout=PATIENCE)


def test_a_job_whose_model_is_a_file_gives_the_lora_of_the_node_bit_for_bit(
    server: "ComfyServer", training: Graph, plain: Path, run_name: str
):
    """By the command run; a job that is there is not replaced."""
    training["unet"] = node(
        "UNETLoader", unet_name=training["1"]["inputs"]["model_file"], weight_dtype="default"
    )
    training["9"]["inputs"]["model"] = ["unet", 0]
    first, _ = saved_job(server, training, run_name)
    training["9"]["inputs"]["memory"] = "all on the GPU"
    folder, command = saved_job(server, training, run_name)
    assert first == server.base_directory / "output" / "semantic_focus" / "jobs" / run_name
    assert folder == first.with_name(f"{run_name}_2") and not (folder / "data" / "model_graph.json").exists()
    done = run(command.replace(" train ", " run ").replace("config.toml", "job.json"))
    assert done.returncode == 0, done.stderr
    assert same(load_file(done.stdout.strip()), lora_of(plain))


def test_nodes_that_give_the_model_are_run_again(
    server: "ComfyServer", training: Graph, saved: str, run_name: str
):
    """A loader of another pack, and nodes of ComfyUI's own on the way."""
    training["lora"] = node("LoraLoaderModelOnly", model=["1", 0], lora_name=saved, strength_model=0.7)
    training["shift"] = node("ModelSamplingSD3", model=["lora", 0], shift=1.5)
    training["9"]["inputs"]["model"] = ["shift", 0]
    of_the_node = lora_of(train(server, training, run_name)[0])
    _, command = saved_job(server, training, run_name)
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert same(load_file(done.stdout.strip()), of_the_node)


def test_processes_make_the_lora_of_one(
    server: "ComfyServer", training: Graph, preview: dict[str, Any], run_name: str
):
    """Samples, which they do not make, are said to be missing."""
    training["options"] = node("SemanticFocusTrainingOptions", **{**OPTIONS, "accumulation": 2})
    alone, shown_alone = train(server, training, f"{run_name}_alone", options=["options", 0])
    training["options"]["inputs"]["processes"] = 2
    training["preview"] = preview
    both, shown = train(server, training, run_name, preview=["preview", 0])
    assert same(lora_of(both), lora_of(alone))
    assert curves(both) == curves(alone)
    assert shown["9"]["text"][0].splitlines()[:-1] == shown_alone["9"]["text"][0].splitlines()[:-1]
    assert (both / "run.json").read_text() == (alone / "run.json").read_text()
    one, other = (it["9"]["semantic_focus_training"][0] for it in (shown_alone, shown))
    assert [note["kind"] for note in other["notes"]][0] == "no_previews"
    assert not (both / "previews").exists()
    assert other["points"] == one["points"] and other["state"] == "finished" and other["rows"] == one["rows"]


def children_of(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *children_of(child)]
    return found


def test_a_cancel_ends_all_processes_and_the_graph_goes_on_with_any_number(
    server: "ComfyServer",
    comfy: ModuleType,
    training: Graph,
    run_name: str,
    eventually: Callable[..., Any],
    logged: Callable[[], str],
):
    steps = 40
    training["options"] = node(
        "SemanticFocusTrainingOptions", **{**OPTIONS, "accumulation": 2, "processes": 2}
    )
    training["9"]["inputs"].update(steps=steps, run_name=run_name, options=["options", 0])
    folder, before = run_folder(server, run_name), children_of(server.process_id)
    prompt = server.queue(training)
    waits = []

    def asked(question: Callable[[], Any]) -> Callable[[], Any]:
        """The question, after one to the server's event loop that is timed."""

        def ask() -> Any:
            began = time.monotonic()
            server.is_busy()
            waits.append(time.monotonic() - began)
            return question()

        return ask

    eventually(asked(lambda: len(curves(folder)) >= 3))
    processes = set(children_of(server.process_id)) - set(before)
    assert len(processes) == 3  # the two, and the one that has started them
    server.interrupt()
    began = time.monotonic()
    eventually(asked(lambda: not processes & set(children_of(server.process_id))))
    took = time.monotonic() - began
    with pytest.raises(comfy.PromptInterrupted):
        server.wait(prompt)
    done = curves(folder)
    state = folder / f"state_{len(done):06}.safetensors"
    assert took < SECONDS and max(waits) < SECONDS
    assert 3 <= len(done) < steps and state.exists()
    assert f"Training stopped at step {len(done)} (cancelled). Its state is in {state}" in logged()
    assert not [path for path in (server.base_directory / "temp").iterdir() if path.is_dir()]

    training["options"]["inputs"]["processes"] = 1
    server.run(training)
    assert f"going on from step {len(done)} of {folder}" in logged()
    assert curves(folder)[: len(done)] == done and len(curves(folder)) == steps
    whole, _ = train(server, training, f"{run_name}_whole")
    assert same(lora_of(folder, steps), lora_of(whole, steps))


def test_what_the_processes_say_when_they_fail_is_the_nodes_error(
    server: "ComfyServer", comfy: ModuleType, training: Graph, run_name: str
):
    training["options"] = node("SemanticFocusTrainingOptions", **{**OPTIONS, "processes": 2})
    training["9"]["inputs"].update(run_name=run_name, options=["options", 0])
    said = failure(server, comfy, training)
    assert "2 processes and 1 pictures in a step (batch_size 1 × accumulation 1)" in said
