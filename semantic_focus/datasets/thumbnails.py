"""Small pictures of a dataset, and its regions as layers to lay over them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..regions.large import too_large
from ..regions.masks import downsample_mask_to_latent
from ..regions.overlay import Colour, index_map, region_colour
from .folder import DatasetError, load_picture, upright
from .formats import opened_picture, why_unreadable
from .mask_file import mask_path, read_masks


def thumbnail(path: Path, side: int) -> Image.Image:
    """A picture, RGB, upright and on white as `load_picture` gives it, its longer side at most `side` pixels.

    Raises:
        FileNotFoundError: there is no such file.
        DatasetError: the file is damaged or no picture.
    """
    try:
        with opened_picture(path) as file:
            if problem := too_large(file.height, file.width):
                raise DatasetError(f"{path}: {problem}")
            if file.mode.startswith("I"):  # 16-bit grey
                pixels = (load_picture(path) * 255).round().to(torch.uint8).numpy()
                picture = Image.fromarray(pixels)
                picture.thumbnail((side, side))
                return picture
            file.draft("RGB", (2 * side, 2 * side))  # JPEG files are decoded at about this size
            transparent = file.has_transparency_data
            picture = upright(file).convert("RGBA" if transparent else "RGB")
            picture.thumbnail((side, side))
    except (FileNotFoundError, DatasetError):
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise DatasetError(why_unreadable(path, error)) from error
    if transparent:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture


def region_layer(picture: Path, side: int, colours: Mapping[str, Colour]) -> Image.Image:
    """The regions of a picture's mask file in their colours, RGBA, of the size of its `thumbnail`.

    Where no region is, it is transparent; background is half as strong as the others. Soft layers are left
    out.

    Args:
        colours: other colours than `region_colour` gives.

    Raises:
        FileNotFoundError, MaskFileError: as `read_masks`.
    """
    masks = read_masks(mask_path(picture))
    height, width = masks.size
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = downsample_mask_to_latent(masks.masks[0], size)
    palette = np.zeros((len(masks.labels) + 1, 4), np.uint8)
    for index, label in enumerate(masks.labels, 1):
        palette[index] = (*colours.get(label, region_colour(label)), 128 if label == "background" else 255)
    return Image.fromarray(palette[index_map(small, masks.labels).numpy()])
