"""A small SD3 (MMDiT) that ComfyUI itself recognises, and its file.

ComfyUI tells an SD3 model from the shapes of its tensors: width = 64 * depth, one attention head per 64
channels. Depth 3 or 4 therefore gives 5..12 million parameters that every loader and trainer treats as a
genuine rectified-flow model with 16 latent channels.

Everything of ComfyUI is imported when called: the file can be read and checked without it.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from .codec import CHANNELS, BlockCodec
from .text import CONTEXT_DIM, POOLED_DIM

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

PREFIX = "model.diffusion_model."
METADATA_KEY = "semantic_focus_stand_in"


@dataclass(frozen=True)
class Architecture:
    """The free choices: joint blocks = heads (width is 64 * depth), and the widths of what it is given."""

    depth: int = 3
    channels: int = CHANNELS
    context: int = CONTEXT_DIM
    pooled: int = POOLED_DIM

    def build(self) -> nn.Module:
        """A trainable float32 MMDiT with fresh weights from torch's global generator.

        Positions are computed from the latent's size (no `pos_embed` table): any size works, the file stays
        small. Modulation and output start at zero, so that every block starts as the identity (Peebles &
        Xie 2023, DiT).
        """
        from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper

        width = 64 * self.depth
        model = OpenAISignatureMMDITWrapper(
            patch_size=2,
            in_channels=self.channels,
            depth=self.depth,
            adm_in_channels=self.pooled,
            context_embedder_config={
                "target": "torch.nn.Linear",
                "params": {"in_features": self.context, "out_features": width},
            },
            qk_norm="rms",
            dtype=torch.float32,
            operations=nn,
        )
        for name, parameter in model.named_parameters():
            if "adaLN_modulation" in name or name.startswith("final_layer.linear"):
                nn.init.zeros_(parameter)
            elif name.endswith((".ln_q.weight", ".ln_k.weight")):
                nn.init.ones_(parameter)
        return model


def save(path: Path, model: nn.Module, codec: BlockCodec, settings: dict) -> None:
    """Write the model's .safetensors, complete or not at all; the codec's statistics travel in its header."""
    header = {"codec_mean": codec.mean, "codec_std": codec.std, "settings": settings}
    tensors = {PREFIX + name: value.detach().contiguous() for name, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, {METADATA_KEY: json.dumps(header)})
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> "tuple[ModelPatcher, BlockCodec]":
    """The model through ComfyUI's own loader, and the codec whose latents it was trained on.

    Raises:
        ValueError: when the file has no codec statistics, so was not made here.
    """
    import comfy.sd

    with safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}).get(METADATA_KEY)
    if header is None:
        raise ValueError(
            f"{path.name}: no '{METADATA_KEY}' entry in the file header, so it is no stand-in model; "
            "make one with tests/stand_in_model.py or load this file with core's UNETLoader"
        )
    statistics = json.loads(header)
    model = comfy.sd.load_diffusion_model(str(path))
    codec = BlockCodec(
        tuple(statistics["codec_mean"]), tuple(statistics["codec_std"]), model.model.latent_format
    )
    return model, codec
