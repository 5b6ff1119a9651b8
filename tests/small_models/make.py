"""Write the files that the templates for three-file models name, small and with random weights:
`python make.py COMFYUI FOLDER`, where the folder is ComfyUI's models.

A program of its own, because it imports ComfyUI.
"""

import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path[:0] = [sys.argv[1], str(Path(__file__).parents[1] / "host"), str(Path(__file__).parents[1])]
from comfy.cli_args import args  # noqa: E402

args.cpu = True

import comfy.ldm.wan.vae  # noqa: E402
import comfy.taesd.taesd  # noqa: E402
import comfy.text_encoders.qwen_image  # noqa: E402
import comfy.text_encoders.sd3_clip  # noqa: E402
import comfy.text_encoders.wan  # noqa: E402
import comfy.text_encoders.z_image  # noqa: E402
import sentencepiece  # noqa: E402
import tiny_models  # noqa: E402 # pyright: ignore[reportMissingImports]
import torch  # noqa: E402
from comfy import sd1_clip  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import small_models  # noqa: E402

WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 128,
    "ffn_dim": 64,
    "freq_dim": 256,
    "text_dim": small_models.TEXT_WIDTH,
    "num_heads": 1,
    "num_layers": 1,
    "in_dim": 16,
    "out_dim": 16,
}

DIFFUSION_MODELS = {
    "z_image_bf16": ("ZImage", tiny_models.Z_IMAGE),
    "flux1-dev": ("Flux", tiny_models.FLUX),
    "qwen_image_fp8_e4m3fn": ("QwenImage", tiny_models.QWEN_IMAGE),
    "wan2.1_t2v_1.3B_fp16": ("WAN21_T2V", WAN),
}

TEXT_ENCODERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "clip_l": ("CLIP_L", sd1_clip.SDClipModel),
    "t5xxl_fp16": ("T5_XXL", comfy.text_encoders.sd3_clip.T5XXLModel),
    "qwen_3_4b": ("QWEN3_4B", comfy.text_encoders.z_image.Qwen3_4BModel),
    "qwen_2.5_vl_7b_fp8_scaled": ("QWEN25_7B", comfy.text_encoders.qwen_image.Qwen25_7BVLIModel),
    "umt5_xxl_fp8_e4m3fn_scaled": ("T5_XXL", comfy.text_encoders.wan.UMT5XXlModel),
}

VAES: dict[str, Callable[[], nn.Module]] = {
    "ae": lambda: comfy.taesd.taesd.TAESD(latent_channels=16),
    "qwen_image_vae": lambda: video_vae(),
    "wan_2.1_vae": lambda: video_vae(),
}

WORDS = "portrait of a person, a woman in an orange suit, a garden in the background"


def video_vae() -> nn.Module:
    """As Wan's, with fewer channels."""
    return comfy.ldm.wan.vae.WanVAE(
        dim=8,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        dropout=0.0,
    )


def tokenizer() -> Tensor:
    """A SentencePiece model of a few words, as bytes: the file of Wan's text encoder holds its own."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS] * 50),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return torch.tensor(list(model.getvalue()), dtype=torch.uint8)


def write(
    file: Path, module: nn.Module, header: dict[str, str] | None = None, more: Mapping[str, Tensor] = {}
) -> None:
    """A module's weights, none of them zero, and more."""
    tiny_models._randomise(module)
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous().clone() for name, tensor in module.state_dict().items()}
    save_file({**tensors, **more}, file.with_name(file.name + ".safetensors"), header)


def main() -> None:
    """Write all of them."""
    folder = Path(sys.argv[2])
    for name, (kind, settings) in DIFFUSION_MODELS.items():
        network = tiny_models.from_config(kind, settings).model.diffusion_model
        header = {small_models.MARK: json.dumps([kind, settings])}
        write(folder / "diffusion_models" / name, network, header)
    for name, (kind, build) in TEXT_ENCODERS.items():
        more = {small_models.MARK: torch.tensor(list(kind.encode()), dtype=torch.uint8)}
        if name.startswith("umt5"):
            more["spiece_model"] = tokenizer()
        write(folder / "text_encoders" / name, build().transformer, more=more)
    for name, build in VAES.items():
        write(folder / "vae" / name, build())


if __name__ == "__main__":
    main()
