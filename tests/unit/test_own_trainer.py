"""Every Python block of docs/own_trainer.md runs, with stand-ins for what the reader brings."""

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from semantic_focus import save_masks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own_trainer.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def reader(tmp_path: Path) -> dict[str, Any]:
    """Two pictures, one without a body; a model of one layer, whose weight is the adapter."""
    torch.manual_seed(0)
    for index in range(2):
        face, body = torch.zeros(64, 96), torch.zeros(64, 96)
        face[8:32, 16:48] = 1
        body[32:, :64] = 1
        masks = {"face": face, "body": body} if index == 0 else {"face": face}
        save_masks(tmp_path / f"{index}.safetensors", masks)
    network = torch.nn.Conv2d(4, 4, 1)

    @contextlib.contextmanager
    def adapter_off():
        weights = network.weight.detach().clone()
        with torch.no_grad():
            network.weight.zero_()
        yield
        with torch.no_grad():
            network.weight.copy_(weights)

    return {
        "mask_files": [tmp_path / f"{index}.safetensors" for index in range(2)],
        "latents": torch.randn(2, 4, 8, 12),
        "network": network,
        "model": lambda noisy, level: network(noisy),
        "adapter_off": adapter_off,
        "optimizer": torch.optim.AdamW(network.parameters(), lr=1e-3),
        "alphas_cumprod": torch.linspace(0.999, 0.005, 1000),
    }


def test_the_masks_block_puts_every_region_on_the_latent_grid(reader: dict[str, Any]):
    exec(BLOCKS[0], reader)
    masks = reader["picture_masks"]
    assert {name: mask.shape for name, mask in masks.items()} == {
        "face": (2, 8, 12),
        "body": (2, 8, 12),
    }
    assert masks["face"][0].sum() == 3 * 4 and not masks["body"][1].any()


@pytest.mark.parametrize("block", BLOCKS[1:], ids=lambda block: block.splitlines()[2][:40])
def test_a_training_block_gives_the_model_a_gradient_or_a_step(reader: dict[str, Any], block: str):
    exec(BLOCKS[0], reader)
    before = reader["network"].weight.detach().clone()
    exec(block, reader)
    after = reader["network"].weight
    assert (after.grad is not None and after.grad.any()) or not torch.equal(before, after)


def test_bf16_runs_through_the_same_blocks(reader: dict[str, Any]):
    exec(BLOCKS[0], reader)
    reader["latents"] = reader["latents"].bfloat16()
    reader["network"].bfloat16()
    exec(BLOCKS[1], reader)
    assert reader["network"].weight.grad.dtype == torch.bfloat16 and reader["loss"].dtype == torch.float32


def test_the_page_has_the_blocks_that_are_run_here():
    assert len(BLOCKS) == 5
