"""Genuine ComfyUI models of every family that is trained, with random weights and as few of them as go.

SD3 and Wan are found by ComfyUI's own detection; the families it detects at their real width only are built
from the same classes with small numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.ldm.flux.model
import comfy.ldm.modules.diffusionmodules.mmdit
import comfy.ldm.wan.model
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch
from torch import nn

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1],
    "use_spatial_transformer": True,
    "legacy": False,
    "context_dim": 48,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
}

SDXL_UNET = UNET | {
    "model_channels": 64,
    "use_linear_in_transformer": True,
    "adm_in_channels": 2816,
    "num_classes": "sequential",
}

FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 32,
    "context_in_dim": 48,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
}
if "txt_ids_dims" in comfy.ldm.flux.model.FluxParams.__annotations__:  # from ComfyUI 0.28 on
    FLUX["txt_ids_dims"] = []

Z_IMAGE = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 256,
    "cap_feat_dim": 48,
    "n_layers": 1,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "axes_dims": [32, 48, 48],
    "axes_lens": [64, 64, 64],
    "qk_norm": True,
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8 / 3,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 8,
}

QWEN_IMAGE = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "num_layers": 1,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 48,
    "pooled_projection_dim": 48,
    "axes_dims_rope": (8, 12, 12),
}


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        build: makes the MODEL.
        text_width, pooled_width: of its conditioning; 0: it takes no pooled embedding.
        grid: of a latent; odd sides, which the network pads.
        prediction: what its network gives.
        attention_mask: its conditioning carries one.
    """

    build: Callable[[], comfy.model_patcher.ModelPatcher]
    text_width: int
    pooled_width: int
    grid: tuple[int, ...]
    prediction: str
    attention_mask: bool = False


def from_config(kind: str, settings: dict[str, Any], marks: tuple[str, ...] = ()) -> Any:
    """A MODEL of a class of ComfyUI's, of this size."""
    config = getattr(comfy.supported_models, kind)(settings)
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({mark: torch.tensor(5.0) for mark in marks}, "")
    _randomise(model.diffusion_model)
    model.eval()
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def _detected(network: nn.Module) -> Any:
    _randomise(network)
    return comfy.sd.load_diffusion_model_state_dict(dict(network.state_dict()))


def _randomise(network: nn.Module) -> None:
    """No layer stays zero, so that every one has a part in the output; nothing stays as the memory was."""
    generator = torch.Generator().manual_seed(0)
    table = getattr(network, "pos_embed", None)
    for parameter in (*network.parameters(), *([] if table is None else [table])):
        spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        values = torch.randn(parameter.shape, generator=generator) * spread
        parameter.data.copy_(values + (1 if parameter.ndim == 1 else 0))


def _sd3() -> Any:
    return _detected(
        comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper(
            patch_size=2, in_channels=16, depth=2, adm_in_channels=2048, num_patches=36864,
            pos_embed_max_size=192, operations=nn, dtype=torch.float32,
            context_embedder_config={
                "target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 128}
            },
        )
    )  # fmt: skip


def _wan() -> Any:
    return _detected(
        comfy.ldm.wan.model.WanModel(
            dim=128, ffn_dim=128, freq_dim=256, text_dim=4096, num_heads=1, num_layers=1, operations=nn,
            dtype=torch.float32,
        )
    )  # fmt: skip


def _sd15() -> Any:
    return from_config("SD15", UNET)


def _sdxl(*marks: str) -> Any:
    return from_config("SDXL", SDXL_UNET, marks)


FAMILIES = {
    "sd3": Family(_sd3, 4096, 2048, (16, 5, 7), "velocity"),
    "flux": Family(lambda: from_config("Flux", FLUX), 48, 32, (16, 5, 7), "velocity"),
    "z_image": Family(lambda: from_config("ZImage", Z_IMAGE), 48, 0, (16, 5, 7), "velocity", True),
    "qwen_image": Family(lambda: from_config("QwenImage", QWEN_IMAGE), 48, 0, (16, 1, 5, 7), "velocity"),
    "wan_video": Family(_wan, 4096, 0, (16, 3, 5, 7), "velocity"),
    "sd15": Family(_sd15, 48, 0, (4, 9, 7), "eps"),
    "sdxl_v": Family(lambda: _sdxl("v_pred", "ztsnr"), 48, 1280, (4, 9, 7), "v"),
    "sdxl_edm": Family(lambda: _sdxl("edm_mean", "edm_std"), 48, 1280, (4, 9, 7), "edm"),
}


def conditioning(family: Family, tokens: int, seed: int, **extras: Any) -> list[Any]:
    """A random prompt as a text encoder would give it."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(1, tokens, family.text_width, generator=generator)
    if family.pooled_width:
        extras["pooled_output"] = torch.randn(1, family.pooled_width, generator=generator)
    if family.attention_mask:
        extras["attention_mask"] = torch.ones(1, tokens)
    return [[text, extras]]
