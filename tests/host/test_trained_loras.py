"""LoRAs of a training: saved, compared, trained on, and taken as a training adapter."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from .graphs import WEIGHTS, Graph, header_of, lora_of, node, same, train

if TYPE_CHECKING:
    from host.serve import ComfyServer


def test_a_lora_is_saved_in_three_key_styles_with_how_it_was_trained(
    server: "ComfyServer", training: Graph, run_name: str
):
    styles = {"comfyui": "diffusion_model.", "kohya": "lora_", "diffusers": "transformer."}
    for style in styles:
        training[style] = node(
            "SemanticFocusSaveLoRA",
            lora=["9", 0],
            model=["1", 0],
            filename_prefix=f"loras/{run_name}_{style}",
            key_style=style,
            dtype="bf16",
            train_state=["9", 3],
        )
    folder, shown = train(server, training, run_name)
    run = json.loads((folder / "run.json").read_text())["identity"]
    for style, prefix in styles.items():
        file = Path(shown[style]["text"][0])
        assert file.parent == server.base_directory / "output" / "loras"
        tensors, header = load_file(file), header_of(file)
        assert tensors and all(key.startswith(prefix) for key in tensors)
        assert {tensor.dtype for key, tensor in tensors.items() if "alpha" not in key} == {torch.bfloat16}
        assert header["semantic_focus.key_style"] == style
        assert json.loads(header["semantic_focus.region_weights"]) == WEIGHTS
        assert header["semantic_focus.steps"] == header["ss_steps"] == "3"
        assert header["semantic_focus.dataset"] == run["data"]
        assert header["semantic_focus.base_model"] == run["model"]
        assert header["ss_sd_model_name"] == "stand_in"


def test_a_lora_in_kohyas_keys_is_compared_as_the_same_lora(
    server: "ComfyServer", training: Graph, run_name: str
):
    compare = node(
        "SemanticFocusCompare",
        lora=["9", 0],
        **{
            name: training["9"]["inputs"][name]
            for name in ("model", "latents", "conditioning", "latent_masks")
        },
    )
    training["compare"] = compare
    training["saved"] = node(
        "SemanticFocusSaveLoRA",
        lora=["9", 0],
        model=["1", 0],
        filename_prefix=f"loras/{run_name}",
        key_style="kohya",
    )
    _, shown = train(server, training, run_name, learning_rate=0.05)
    loras = server.base_directory / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    shutil.copy(shown["saved"]["text"][0], loras / "kohya.safetensors")
    compare["inputs"]["lora"] = ["file", 0]
    training["file"] = node("SemanticFocusLoadLoRA", lora_name="kohya.safetensors")
    for name in ("9", "10", "saved"):
        del training[name]
    from_file = server.run(training)["outputs"]
    rows = json.loads(shown["compare"]["semantic_focus_report"][0])
    assert {row["region"] for row in rows} >= {"face", "hair", "background"}
    assert json.loads(from_file["compare"]["semantic_focus_report"][0]) == rows


def test_a_saved_lora_is_trained_on(
    server: "ComfyServer", training: Graph, plain: Path, saved: str, run_name: str
):
    """One step of Adam moves no value by more than about the learning rate."""
    training["file"] = node("SemanticFocusLoadLoRA", lora_name=saved)
    folder, _ = train(
        server,
        training,
        run_name,
        start_from=["file", 0],
        steps=1,
        learning_rate=1e-5,
        rank=64,
        lr_schedule="constant",
    )
    before, after = lora_of(plain), lora_of(folder, 1)
    assert before.keys() == after.keys() and not same(before, after)
    assert max((before[key] - after[key]).abs().max().item() for key in before) < 1.1e-5


def test_what_cannot_be_trained_on_stays_in_the_lora_and_acts(
    server: "ComfyServer", training: Graph, plain: Path, saved: str, run_name: str
):
    """A bias, as LyCORIS has them: the training has another loss with it, and its LoRA ends with it."""
    bias = "lora_unet_joint_blocks_0_x_block_attn_proj.diff_b"
    loras = server.base_directory / "models" / "loras"
    save_file(load_file(loras / saved) | {bias: torch.ones(128)}, loras / "with_bias.safetensors")
    training["file"] = node("SemanticFocusLoadLoRA", lora_name="with_bias.safetensors")
    training["compare"] = node(
        "SemanticFocusCompare",
        lora=["file", 0],
        **{
            name: training["9"]["inputs"][name]
            for name in ("model", "latents", "conditioning", "latent_masks")
        },
    )
    with_bias, shown = train(server, training, run_name, start_from=["file", 0], steps=1)
    drift = [row["drift"] for row in json.loads(shown["compare"]["semantic_focus_report"][0])]
    training["file"]["inputs"]["lora_name"] = saved
    without, shown = train(server, training, f"{run_name}_without", start_from=["file", 0], steps=1)
    rows = json.loads(shown["compare"]["semantic_focus_report"][0])
    generic = "diffusion_model.joint_blocks.0.x_block.attn.proj.diff_b"
    assert lora_of(with_bias, 1).keys() - lora_of(without, 1).keys() == {generic}
    assert torch.equal(lora_of(with_bias, 1)[generic], torch.ones(128))
    assert not same(lora_of(without, 1), {k: t for k, t in lora_of(with_bias, 1).items() if k != generic})
    assert all(a > b for a, b in zip(drift, (row["drift"] for row in rows), strict=True) if a == a)


def test_what_cannot_be_trained_on_is_saved_in_the_names_of_the_style_and_counted(
    server: "ComfyServer", shared_workflow: Graph, saved: str, run_name: str
):
    loras = server.base_directory / "models" / "loras"
    tensors = load_file(loras / saved)
    bias = "lora_unet_joint_blocks_0_x_block_attn_proj.diff_b"
    save_file(tensors | {bias: torch.ones(128)}, loras / "with_bias.safetensors")
    names = {
        "comfyui": "diffusion_model.joint_blocks.0.x_block.attn.proj",
        "kohya": "lora_unet_joint_blocks_0_x_block_attn_proj",
        "diffusers": "transformer.transformer_blocks.0.attn.to_out.0",
    }
    graph = {
        "1": shared_workflow["1"],
        "load": node("SemanticFocusLoadLoRA", lora_name="with_bias.safetensors"),
    }
    for style in names:
        graph[style] = node(
            "SemanticFocusSaveLoRA",
            lora=["load", 0],
            model=["1", 0],
            filename_prefix=f"loras/{run_name}_{style}",
            key_style=style,
        )
    outputs = server.run(graph)["outputs"]
    for style, name in names.items():
        path, sentence = outputs[style]["text"][0].splitlines()
        assert torch.equal(load_file(path)[f"{name}.diff_b"], torch.ones(128))
        assert sentence == (
            f"1 of the {len(tensors) + 1} keys of this LoRA cannot be trained on; they stay as they are: "
            f"{names['comfyui']}.diff_b"
        )


def test_a_lora_that_a_training_kept_can_be_chosen(server: "ComfyServer", plain: Path):
    kept = max(plain.glob("lora_*.safetensors"))
    graph = {
        "load": node("SemanticFocusLoadLoRA", lora_name=f"semantic_focus/{plain.name}/{kept.name}"),
        "name": node("PreviewAny", source=["load", 1]),
    }
    assert server.run(graph)["outputs"]["name"]["text"] == [f"{plain.name}_{kept.stem}"]


def test_a_training_adapter_acts_while_training_and_is_gone_afterwards(
    server: "ComfyServer", training: Graph, plain: Path, saved: str, preview: dict[str, Any], run_name: str
):
    """Samples without it, on the way, do not disturb it."""
    training["file"] = node("SemanticFocusLoadLoRA", lora_name=saved)
    with_adapter, _ = train(server, training, run_name, training_adapter=["file", 0])
    training["preview"] = preview
    with_samples, _ = train(server, training, f"{run_name}_samples", preview=["preview", 0])
    assert same(lora_of(with_samples), lora_of(with_adapter))
    for name in ("training_adapter", "preview"):
        del training["9"]["inputs"][name]
    del training["preview"], training["file"]
    after, _ = train(server, training, f"{run_name}_after")
    assert not same(lora_of(with_adapter), lora_of(plain))
    assert same(lora_of(after), lora_of(plain))
