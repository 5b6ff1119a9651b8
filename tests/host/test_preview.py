"""What the nodes tell the overlay widget about a picture."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from semantic_focus.datasets.mask_file import save_masks
from semantic_focus.regions.masks import SemanticMasks

if TYPE_CHECKING:
    from host.serve import ComfyServer

SIDE = 1280


def previewed(server: "ComfyServer", file: Path) -> tuple[dict[str, Any], np.ndarray]:
    """What Semantic Mask Preview reports of a mask file of SIDE x SIDE, and its map, uint8[H, W, 3]."""
    graph = {
        "picture": {
            "class_type": "EmptyImage",
            "inputs": {"width": SIDE, "height": SIDE, "batch_size": 1, "color": 0x336699},
        },
        "masks": {"class_type": "SemanticFocusLoadMasks", "inputs": {"mask_file": str(file)}},
        "preview": {
            "class_type": "SemanticFocusPreview",
            "inputs": {"images": ["picture", 0], "masks": ["masks", 0], "opacity": 0.5},
        },
    }
    (preview,) = server.run(graph)["outputs"]["preview"]["semantic_focus"]
    return preview, np.asarray(Image.open(io.BytesIO(server.view(preview["map"]))))


def half(start: int, end: int, value: float = 1.0) -> torch.Tensor:
    """Float[SIDE, SIDE]: columns of one value."""
    mask = torch.zeros(SIDE, SIDE)
    mask[:, start:end] = value
    return mask


def test_the_map_tells_regions_persons_and_light_and_the_words_say_what_the_segmenter_said(
    server: "ComfyServer", tmp_path: Path
):
    third = SIDE // 4
    masks = SemanticMasks(
        torch.stack([half(0, third, 0.8), half(third, SIDE, 1.0), half(0, SIDE, 0.4)])[None],
        ("face", "background", "lighting"),
        (torch.stack([half(0, third), half(2 * third, 3 * third)]),),
        {"backend": "sam3", "scores": json.dumps([{"face": 0.91}]), "chosen_persons": "1, 2"},
    )
    save_masks(tmp_path / "two.safetensors", masks, encoding="float")
    preview, pixels = previewed(server, tmp_path / "two.safetensors")
    assert pixels.shape == (1024, 1024, 3)
    # the three regions are 85 apart, the two persons 127, so that noise of some levels changes neither
    assert pixels[0, ::256, 0].tolist() == [85, 170, 170, 170]
    assert pixels[0, ::256, 2].tolist() == [127, 0, 254, 0]
    assert set(np.unique(pixels[..., 1])) == {102}  # 0.4 of 255
    face, background, lighting = preview["regions"]
    np.testing.assert_allclose([face["coverage"], face["certainty"]], [0.8 / 4, 0.8], atol=1e-3)
    assert (face["score"], background["score"], lighting["certainty"]) == (0.91, None, None)
    assert (preview["persons"], preview["chosen"], preview["backend"]) == (2, "1, 2", "sam3")
    assert preview["seconds"] is None


def test_masks_that_cannot_tell_persons_apart_say_nothing_of_persons(server: "ComfyServer", tmp_path: Path):
    save_masks(tmp_path / "drawn.safetensors", {"face": half(0, SIDE)})
    preview, pixels = previewed(server, tmp_path / "drawn.safetensors")
    assert preview["persons"] is None and preview["backend"] == ""
    assert preview["regions"][0]["score"] is None
    assert set(np.unique(pixels[..., 0])) == {255} and not pixels[..., 2].any()
