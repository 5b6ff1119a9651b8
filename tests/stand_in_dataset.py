"""Write a small cached dataset for the tests: `python stand_in_dataset.py FOLDER`."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from semantic_focus.datasets.mask_file import save_masks

CONTEXT, POOLED = 4096, 2048
"""Widths of SD3's text embeddings: the tiny model that ComfyUI detects is one."""


def write_dataset(folder: Path) -> Path:
    """Three pictures of two sizes, one odd, in the documented format; captions of two lengths."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(5)
    for stem, rows, columns, tokens in (("a", 8, 8, 5), ("b", 8, 8, 7), ("c", 5, 9, 5)):
        latents = torch.randn(16, rows, columns, generator=generator).bfloat16()
        size = f"{columns * 8}x{rows * 8}"
        save_file({f"latents_1x{rows}x{columns}_bf16": latents}, folder / f"{stem}_{size}_zi.safetensors")
        text = torch.randn(tokens, CONTEXT, generator=generator).bfloat16()
        pooled = torch.randn(POOLED, generator=generator)
        save_file(
            {"varlen_vl_embed_bf16": text, "pooled_output": pooled}, folder / f"{stem}_zi_te.safetensors"
        )
        face = torch.zeros(rows * 8, columns * 8)
        face[: rows * 4, : columns * 4] = 1
        save_masks(folder / f"{stem}_zi_masks.safetensors", {"face": face, "background": 1 - face})
    return folder


if __name__ == "__main__":
    write_dataset(Path(sys.argv[1]))
