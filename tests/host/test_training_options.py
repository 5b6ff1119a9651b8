"""The nodes around LoRA Train Step: their options reach the training, and their reports tell what it did."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from .graphs import (
    OPTIONS,
    WEIGHTS,
    Graph,
    adapter_options,
    curves,
    failure,
    header_of,
    node,
    picture,
    run_folder,
    timestep_options,
    train,
)

if TYPE_CHECKING:
    from host.serve import ComfyServer


def test_every_choice_of_every_node_has_options(server: "ComfyServer", comfy: ModuleType):
    """Except the lists of files, of which there may be none."""
    ours = {
        name: info
        for name, info in server.object_info().items()
        if info["python_module"].endswith(comfy.PACK) and name.startswith("SemanticFocus")
    }
    assert {
        "SemanticFocusTrain",
        "SemanticFocusLoadTrainState",
        "SemanticFocusTrainingOptions",
        "SemanticFocusPreviewOptions",
        "SemanticFocusTimesteps",
        "SemanticFocusAdapterOptions",
        "SemanticFocusObjectiveOptions",
        "SemanticFocusDryRun",
        "SemanticFocusLossReport",
        "SemanticFocusLoadLoRA",
        "SemanticFocusSaveLoRA",
    } <= set(ours)
    for name, info in ours.items():
        for inputs in info["input"].values():
            for key, (kind, *rest) in inputs.items():
                options = kind if isinstance(kind, list) else rest[0]["options"] if kind == "COMBO" else [""]
                assert options or key == "lora_name", f"{name}: {key}"


def test_the_dry_run_shows_that_the_masks_are_used(server: "ComfyServer", training: Graph):
    training["dry"] = node(
        "SemanticFocusDryRun",
        **{
            name: training["9"]["inputs"][name]
            for name in ("model", "latents", "conditioning", "latent_masks")
        },
        objective=["8", 0],
        noise_position=0.5,
    )
    training["heat"] = node("PreviewImage", images=["dry", 1])
    del training["9"], training["10"]
    shown = server.run(training)["outputs"]
    report = shown["dry"]["text"][0]
    assert "The masks are used: no gradient outside the trained regions." in report
    rows = {line.split()[0]: line.split()[1:] for line in report.splitlines()[1:-1]}
    assert {name: float(row[0]) for name, row in rows.items()} == {**WEIGHTS, "residual": 0.1}
    cover, gradient = (
        {name: float(row[column].rstrip("%")) for name, row in rows.items()} for column in (2, 3)
    )
    assert cover["face"] < 10 and gradient["face"] > 50
    # not 0: the edges of regions are soft
    assert cover["clothing"] + cover["background"] > 80
    assert gradient["clothing"] + gradient["background"] < 10
    pictures = [picture(server, reference) for reference in shown["heat"]["images"]]
    assert [image.size for image in pictures] == [(128, 128), (112, 144)]
    assert all(image.convert("L").getextrema() == (0, 255) for image in pictures)


def test_the_loss_report_shows_a_plot_and_the_errors_by_noise_level(
    server: "ComfyServer", training: Graph, run_name: str
):
    training["report"] = node("SemanticFocusLossReport", loss_map=["9", 1], smoothing=0.5)
    folder, shown = train(server, training, run_name)
    assert picture(server, shown["report"]["images"][0]).width > 300
    head, *rows = shown["report"]["text"][0].splitlines()
    fifths = {min(int(sample["position"] * 5), 4) for line in curves(folder) for sample in line["samples"]}
    assert head.split()[2:] == [
        f"{low:g}-{high:g}" for low, high in ((k / 5, (k + 1) / 5) for k in sorted(fifths))
    ]
    assert {row.split()[0] for row in rows} <= {*WEIGHTS, "residual"}
    assert next(row for row in rows if row.startswith("face")).split()[1:]


def test_the_options_reach_the_training_and_the_file(server: "ComfyServer", training: Graph, run_name: str):
    training["objective"] = node(
        "SemanticFocusObjectiveOptions",
        objective=["8", 0],
        base_weight=0.5,
        base_loss="huber",
        base_mask_floor=0.1,
        cosine="pixel",
        normalise="fixed",
        area_shrinkage=4.0,
        snr_gamma=5.0,
        prior_every=2,
        windows="face: 0 .. 0.95",
    )
    training["timesteps"] = timestep_options(
        kind="model_anchors", model=["1", 0], steps=4, scheduler="simple", jitter=0.001
    )
    training["adapter"] = adapter_options(
        kind="lokr", rank=2, alpha=2.0, dropout=0.1, factor=4, exclude="mlp"
    )
    training["options"] = node(
        "SemanticFocusTrainingOptions",
        **{**OPTIONS, "accumulation": 2, "up_rate_ratio": 4.0, "ema_decay": 0.5},
    )
    folder, _ = train(
        server,
        training,
        run_name,
        objective=["objective", 0],
        timestep_options=["timesteps", 0],
        adapter=["adapter", 0],
        options=["options", 0],
    )
    lora = folder / "lora_000003.safetensors"
    keys = load_file(lora).keys()
    assert all(key.endswith(".alpha") or ".lokr_w" in key for key in keys)
    assert keys and not any(".mlp." in key for key in keys)
    # four steps of SD3, whose shift is 3: 3t / (1 + 2t) at t = 1, 0.75, 0.5, 0.25
    anchors = torch.tensor([1.0, 0.9, 0.75, 0.5])
    positions = [sample["position"] for line in curves(folder) for sample in line["samples"]]
    assert len(positions) == 3 * 2
    assert all((anchors - position).abs().min() < 0.01 for position in positions)
    settings = json.loads(header_of(lora)["semantic_focus.settings"])
    assert settings["objective"]["base_loss"] == "huber" and settings["objective"]["prior_every"] == 2
    assert settings["training"]["timesteps"]["anchors"] == pytest.approx(anchors.tolist(), abs=2e-3)
    assert settings["adapters"]["kind"] == "lokr" and settings["training"]["ema_decay"] == 0.5
    assert [line["prior"] is None for line in curves(folder)] == [False, True, False]


def test_what_is_held_out_is_judged_and_a_training_that_made_it_worse_says_so(
    server: "ComfyServer", training: Graph, run_name: str
):
    """Of two pictures, crops are judged; all of both are trained."""
    training["options"] = node(
        "SemanticFocusTrainingOptions",
        **OPTIONS,
        hold_out="auto",
        held_out_share=0.1,
        validate_every=2,
    )
    training["8"]["inputs"]["prior_weight"] = 4.0  # what moves costs enough
    folder, shown = train(server, training, run_name, options=["options", 0], learning_rate=1.0, recipe="off")
    judged = {line["step"]: line["validation"] for line in curves(folder) if "validation" in line}
    assert list(judged) == [2, 3]
    best = min(judged, key=lambda step: judged[step]["loss"])
    header = header_of(folder / "lora_best.safetensors")
    assert header["semantic_focus.steps"] == str(best)
    assert json.loads(header["semantic_focus.settings"])["validation"]["every"] == 2
    assert all(set(found["drift"]) == set(found["regions"]) >= {"background"} for found in judged.values())
    status = shown["9"]["semantic_focus_training"][0]
    assert status["worse"] and "raised" in [note["kind"] for note in status["notes"]]
    assert status["points"]["validation"]["step"] == [2, 3]
    assert "the training made it worse" in shown["9"]["text"][0]


def test_model_anchors_without_the_model_say_so(server: "ComfyServer", comfy: ModuleType, training: Graph):
    training["timesteps"] = timestep_options(kind="model_anchors")
    training["9"]["inputs"]["timestep_options"] = ["timesteps", 0]
    assert "connect it" in failure(server, comfy, training)


def test_caption_dropout_needs_the_empty_prompt(
    server: "ComfyServer", comfy: ModuleType, training: Graph, run_name: str
):
    """Said before the first step, however rare the empty prompt is."""
    training["options"] = node("SemanticFocusTrainingOptions", **{**OPTIONS, "caption_dropout": 0.01})
    training["9"]["inputs"].update(options=["options", 0], run_name=run_name)
    message = failure(server, comfy, training)
    assert "caption_dropout is 0.01" in message and "empty_prompt" in message
    assert not run_folder(server, run_name).exists()
    training["empty"] = node("CLIPTextEncode", text="", clip=["1", 1])
    folder, _ = train(server, training, run_name, empty_prompt=["empty", 0])
    assert len(curves(folder)) == 3


def test_a_distilled_model_is_warned_of(
    server: "ComfyServer",
    training: Graph,
    stand_in_model: Path,
    run_name: str,
    logged: Callable[[], str],
):
    train(server, training, f"{run_name}_not")
    assert "distilled" not in logged()
    turbo = server.base_directory / "models" / "diffusion_models" / "stand_in_turbo.safetensors"
    turbo.symlink_to(stand_in_model)
    training["1"]["inputs"]["model_file"] = turbo.name
    train(server, training, run_name)
    assert f"LoRA training: {turbo.name} seems to be a distilled model" in logged()
    turbo.unlink()


def test_a_weight_of_what_no_mask_is_called_is_told_of(server: "ComfyServer", training: Graph, run_name: str):
    training["8"]["inputs"]["more_weights"] = "tattoo: 0.8\nscar: 0"
    _, shown = train(server, training, run_name)
    (report,) = shown["9"]["semantic_focus_training"]
    (note,) = (note for note in report["notes"] if note["kind"] == "no_mask")
    assert note["values"] == {"regions": "tattoo"}
    assert "no mask is called tattoo: that weight trains nothing" in note["text"]


def test_a_weighted_region_that_is_empty_in_every_picture_is_told_of_also_when_it_is_among_the_keywords(
    server: "ComfyServer", training: Graph, run_name: str
):
    segment = next(one for one in training.values() if one["class_type"] == "SemanticFocusSegment")
    segment["inputs"]["keywords"] += "\ntattoo: dragon"
    training["8"]["inputs"]["more_weights"] = "tattoo: 0.8"
    _, shown = train(server, training, run_name)
    (report,) = shown["9"]["semantic_focus_training"]
    (note,) = (note for note in report["notes"] if note["kind"] == "empty_region")
    assert "tattoo" in note["values"]["regions"].split(", ")
    assert "empty in every picture, so that weight trains nothing" in note["text"]
