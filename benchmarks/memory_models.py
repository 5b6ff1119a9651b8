"""Models of the sizes that people have, without weights: what benchmarks/memory_peaks.py counts.

They are built by ComfyUI's own classes. Their memory is taken from the system but never touched, so that 38
GiB of weights cost nothing. Importing this file imports ComfyUI.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.ldm.flux.model
import comfy.model_patcher
import comfy.supported_models
import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}


@dataclass(frozen=True)
class RealModel:
    """One model, one picture or video for it, and one prompt.

    Attributes:
        name: for people.
        kind: class of `comfy.supported_models`.
        network: what ComfyUI's detection finds in its file.
        few: the same with few layers, for tests.
        latent: [C, *grid].
        text: tokens and width of the prompt.
        pooled: width of the pooled prompt; 0: it has none.
        extras: of the conditioning.
        compute: type of the products where weights are fp8.
    """

    name: str
    kind: str
    network: Mapping[str, Any]
    few: Mapping[str, Any]
    latent: tuple[int, ...]
    text: tuple[int, int]
    pooled: int = 0
    extras: Mapping[str, Any] = field(default_factory=dict)
    compute: torch.dtype = torch.bfloat16

    def patcher(self, dtype: str, few: bool = False, layers: Mapping[str, Any] | None = None) -> Any:
        """ComfyUI's MODEL with weights of this type on the CPU, none of which has a value.

        Args:
            dtype: a name of `DTYPES`.
            few: with few layers.
            layers: other numbers of layers, in the place of those.
        """
        config = getattr(comfy.supported_models, self.kind)(
            {**self.network, **(self.few if few else {}), **(layers or {})}
        )
        config.set_inference_dtype(DTYPES[dtype], self.compute if dtype == "fp8" else None)
        model = config.get_model({}, "", device=torch.device("cpu"))
        model.eval()
        return comfy.model_patcher.ModelPatcher(model, torch.device("meta"), torch.device("cpu"))

    def conditioning(self) -> list[Any]:
        """ComfyUI's CONDITIONING of a prompt."""
        extras = dict(self.extras)
        if self.pooled:
            extras["pooled_output"] = torch.zeros(1, self.pooled)
        return [[torch.zeros(1, *self.text), extras]]

    def at(self, *grid: int) -> "RealModel":
        """The same for latents of another grid."""
        return replace(self, latent=(self.latent[0], *grid))


_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "use_spatial_transformer": True,
    "legacy": False,
    "use_temporal_attention": False,
}
_FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
}
if "txt_ids_dims" in comfy.ldm.flux.model.FluxParams.__annotations__:  # from ComfyUI 0.28 on
    _FLUX["txt_ids_dims"] = []

REAL_MODELS = {
    "sd15": RealModel(
        "SD1.5", "SD15",
        {
            **_UNET, "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4],
            "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
            "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "context_dim": 768,
            "use_linear_in_transformer": False, "adm_in_channels": None,
        },
        {
            "num_res_blocks": [1, 1], "channel_mult": [1, 2], "transformer_depth": [1, 1],
            "transformer_depth_output": [1, 1, 1, 1],
        },
        (4, 64, 64), (77, 768), compute=torch.float16,
    ),
    "sdxl": RealModel(
        "SDXL", "SDXL",
        {
            **_UNET, "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4],
            "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_middle": 10,
            "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "context_dim": 2048,
            "use_linear_in_transformer": True, "adm_in_channels": 2816, "num_classes": "sequential",
        },
        {
            "num_res_blocks": [1, 1], "channel_mult": [1, 2], "transformer_depth": [0, 2],
            "transformer_depth_middle": 2, "transformer_depth_output": [0, 0, 2, 2],
        },
        (4, 128, 128), (77, 2048), 1280, compute=torch.float16,
    ),
    "sd35": RealModel(
        "SD3.5 Large", "SD3",
        {
            "patch_size": 2, "in_channels": 16, "depth": 38, "adm_in_channels": 2048, "num_patches": 36864,
            "pos_embed_max_size": 192, "pos_embed_scaling_factor": None, "qk_norm": "rms",
            "context_embedder_config": {
                "target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 2432}
            },
        },
        {
            "depth": 8,  # which is its width too
            "context_embedder_config": {
                "target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 512}
            },
        },
        (16, 128, 128), (154, 4096), 2048,
    ),
    "zimage": RealModel(
        "Z-Image", "ZImage",
        {
            "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 3840, "cap_feat_dim": 2560,
            "n_layers": 30, "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30,
            "axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512], "qk_norm": True, "rope_theta": 256.0,
            "ffn_dim_multiplier": 8 / 3, "z_image_modulation": True, "time_scale": 1000.0,
            "pad_tokens_multiple": 32,
        },
        {"n_layers": 3, "n_refiner_layers": 1},
        (16, 128, 128), (256, 2560), extras={"attention_mask": torch.ones(1, 256)},
    ),
    "flux": RealModel(
        "Flux-dev", "Flux", _FLUX, {"depth": 2, "depth_single_blocks": 3},
        (16, 128, 128), (512, 4096), 768, {"guidance": 3.5},
    ),
    "qwen": RealModel(
        "Qwen-Image", "QwenImage", {"image_model": "qwen_image", "in_channels": 64, "num_layers": 60},
        {"num_layers": 3},
        (16, 1, 128, 128), (256, 3584),
    ),
    "wan": RealModel(
        "Wan 14 B", "WAN21_T2V",
        {
            "image_model": "wan2.1", "model_type": "t2v", "dim": 5120, "ffn_dim": 13824, "num_heads": 40,
            "num_layers": 40, "in_dim": 16, "out_dim": 16, "text_dim": 4096,
        },
        {"num_layers": 3},
        (16, 1, 128, 128), (512, 4096),
    ),
}  # fmt: skip
"""By a short name; 1024 x 1024 pixels (SD1.5: 512 x 512)."""

REAL_MODELS["wan33"] = replace(REAL_MODELS["wan"].at(9, 60, 104), name="Wan 14 B, 33 frames 832x480")
