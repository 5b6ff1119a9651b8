"""Clean-up of soft masks: holes, specks, growing and shrinking in pixels, edges drawn to the picture's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ..categories import is_soft_layer
from .blocks import persons_kept
from .by_hand import BACKGROUND, edited, overlaps, parts_of, with_parts
from .large import enlarge_into, is_large, worked_on, working_size
from .masks import SemanticMasks, downsample_mask_to_latent
from .matting import matte


@dataclass(frozen=True)
class EdgeSettings:
    """Guided filter of one mode.

    `radius_share` is the window radius as a share of the shorter picture side, `epsilon` the variance
    (luminance 0..1, squared) below which the picture counts as flat, `subsample` the step at which the filter
    is fitted.
    """

    radius_share: float
    epsilon: float
    subsample: int


MODES = MappingProxyType({"fast": EdgeSettings(0.006, 4e-4, 2), "fine": EdgeSettings(0.009, 1e-4, 1)})
"""Edge settings by mode; "off" changes nothing, and `MATTING` has edges of its own."""

REFINEMENTS = ("off", *MODES)
"""What a segmenter may be asked to do with the edges by itself."""

MATTING = "matting"
"""The mode that solves for the edges with the optional library pymatting, see `matting.py`."""
LEAST_TO_FILL = 0.1
"""Sum of the parts from which on they are scaled to fill the outline of the whole."""


@dataclass(frozen=True)
class RefineSettings:
    """What to do with a mask stack.

    `mode`: "off" | "fast" | "fine" | "matting"; "off" switches everything off. `max_hole` and `min_area` are
    pixels (0: leave alone): a hole of up to `max_hole` pixels is filled, a speck of fewer than `min_area`
    pixels goes. `grow` is pixels of true distance, negative shrinks.
    """

    mode: str = "fast"
    max_hole: int = 0
    min_area: int = 0
    grow: float = 0.0

    def __post_init__(self):
        if self.mode not in ("off", *MODES, MATTING):
            raise ValueError(
                f"refine mode must be one of off, {', '.join(MODES)}, {MATTING}; got {self.mode!r}"
            )
        for name in ("max_hole", "min_area"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number of pixels, 0 or more; got {getattr(self, name)}")


def refine(masks: Tensor, image: Tensor, settings: RefineSettings = RefineSettings()) -> Tensor:
    """Refine the masks of one picture, each by itself.

    Args:
        masks: Float[K, H, W] in 0..1.
        image: Float[H, W, 3] in 0..1, sRGB.

    Returns:
        Float[K, H, W] in 0..1 on the device of `masks`; the same tensor in mode "off".
    """
    if masks.ndim != 3 or image.shape != (*masks.shape[1:], 3):
        raise ValueError(
            f"masks must be [K, H, W] and image [H, W, 3] of one size, "
            f"got {list(masks.shape)} and {list(image.shape)}"
        )
    if settings.mode == "off" or masks.numel() == 0:
        return masks
    layers = masks.detach().float().cpu().numpy()
    cleaned = [clean(layer, settings.max_hole, settings.min_area) for layer in layers]
    grown = [grow(layer, settings.grow) for layer in cleaned] if settings.grow else cleaned
    if settings.mode == MATTING:
        refined = matte(np.stack(grown), image.detach().float().cpu().numpy())
    else:
        refined = refine_edges(grown, luminance(image), MODES[settings.mode])
    return torch.from_numpy(refined).to(masks)


def refine_masks(masks: SemanticMasks, images: Tensor, settings: RefineSettings) -> SemanticMasks:
    """Refine the masks of a batch, and share the pixels out between the regions again.

    Every part (face, hair, clothing, body) and every category of the user's own is refined by itself. Where
    parts then claim the same pixel, `categories.PARTITION_PRIORITY` decides; what they gain, background
    loses, and the other way round. Regions that overlapped before are left to overlap. Persons are refined
    alike (specks of theirs stay) and share every pixel out between them. Soft layers stay as they are.

    Args:
        images: Float[B, H, W, 3] in 0..1, sRGB, the pictures of the masks.

    Raises:
        ValueError: another number or size of pictures.
        ImportError: mode "matting" without the library pymatting.
    """
    if images.shape != (len(masks.masks), *masks.size, 3):
        raise ValueError(
            f"masks of {len(masks.masks)} pictures of {masks.size[1]}x{masks.size[0]}, but the images are "
            f"{list(images.shape)}: connect the pictures that were segmented"
        )
    if settings.mode == "off":
        return masks
    if is_large(masks.size):
        return _refine_large(masks, images, settings)
    alone = [index for index, label in enumerate(masks.labels) if _is_refined(label)]
    channels = masks.masks.clone()
    for index, image in enumerate(images):
        channels[index, alone] = refine(masks.masks[index, alone], image, settings).clamp(0, 1)
    refined = {name: channels[:, masks.labels.index(name)] for name in parts_of(masks)}
    shared_out = not overlaps(masks)
    if settings.mode == MATTING and shared_out and refined:
        refined = _without_seams(refined, torch.stack(list(parts_of(masks).values())), images, settings)
    shared = with_parts(masks, refined, shared_out)
    own = [index for index in alone if masks.labels[index] not in refined]
    shared[:, own] = channels[:, own]
    what = [f"refine: {settings.mode}"]
    what += [
        f"{name} {value:g}" for name in ("max_hole", "min_area", "grow") if (value := getattr(settings, name))
    ]
    persons = tuple(
        _refine_persons(person, image, settings) for person, image in zip(masks.persons, images, strict=False)
    )
    return replace(edited(masks, shared, " ".join(what)), persons=persons)


def _refine_large(masks: SemanticMasks, images: Tensor, settings: RefineSettings) -> SemanticMasks:
    """`refine_masks` at the size at which large pictures are worked on; soft layers stay as they are."""
    size = working_size(masks.size)
    share = math.sqrt(size[0] * size[1] / (masks.size[0] * masks.size[1]))
    smaller = replace(
        settings,
        max_hole=math.ceil(settings.max_hole * share**2),
        min_area=math.ceil(settings.min_area * share**2),
        grow=settings.grow * share,
    )
    small = replace(
        masks,
        masks=downsample_mask_to_latent(masks.masks.flatten(0, 1), size).unflatten(0, masks.masks.shape[:2]),
        persons=tuple(downsample_mask_to_latent(person, size) for person in masks.persons),
        hand=None,
    )
    refined = refine_masks(small, torch.stack([worked_on(image) for image in images]), smaller)
    channels = torch.empty_like(masks.masks)
    for into, before, layers in zip(channels, masks.masks, refined.masks, strict=True):
        for index, label in enumerate(masks.labels):
            layer = before[index] if is_soft_layer(label) else layers[index]
            enlarge_into(into[index : index + 1], [layer])
    persons = tuple(persons_kept(person, masks.size) for person in refined.persons)
    return replace(refined, masks=channels, persons=persons)


def _without_seams(
    parts: Mapping[str, Tensor], before: Tensor, images: Tensor, settings: RefineSettings
) -> dict[str, Tensor]:
    """Parts that fill the outline of all of them together, Float[B, H, W] by name.

    Opacities that were solved one by one need not add up: where two parts meet, background would show.

    Args:
        before: Float[K, B, H, W], the parts before they were refined.
    """
    total = torch.stack(list(parts.values())).sum(0)
    outline = [
        refine(union[None], image, settings)[0]
        for union, image in zip(before.sum(0).clamp_max(1), images, strict=True)
    ]
    factor = torch.stack(outline) / total.clamp_min(LEAST_TO_FILL)
    factor = torch.where(total < LEAST_TO_FILL, 1.0, factor.clamp_min(1))
    return {name: (layer * factor).clamp(0, 1) for name, layer in parts.items()}


def _is_refined(label: str) -> bool:
    return label != BACKGROUND and not is_soft_layer(label)


def _refine_persons(persons: Tensor, image: Tensor, settings: RefineSettings) -> Tensor:
    """Float[P, H, W] whose sum is at most 1."""
    refined = refine(persons, image, replace(settings, min_area=0)).clamp(0, 1)
    return refined / refined.sum(0).clamp_min(1) if len(refined) else refined


def luminance(image: Tensor) -> np.ndarray:
    """Float[..., H, W]: Rec. 709 luma of Float[..., H, W, 3]."""
    import cv2

    pixels = image.detach().float().cpu().numpy()
    weights = np.array([[0.2126, 0.7152, 0.0722]], np.float32)
    return cv2.transform(pixels.reshape(-1, 1, 3), weights).reshape(pixels.shape[:-1])


def clean(mask: np.ndarray, max_hole: int, min_area: int) -> np.ndarray:
    """Fill holes of up to `max_hole` pixels and drop specks of fewer than `min_area`, both judged at 0.5.

    A hole is an area below 0.5 that does not reach the picture's border. Float[H, W] to Float[H, W].
    """
    import cv2

    inside = mask > 0.5
    result = mask
    if min_area > 0 and inside.any():
        # 8-connected foreground: diagonal strands are one piece; its complement is then 4-connected
        label, area = pieces(inside, connectivity=8)
        small = area < min_area
        small[0] = False
        if small.any():
            speck = small[label]
            halo = cv2.dilate(speck.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            result = np.where(speck | (halo & ~inside), 0, result).astype(np.float32)
            inside &= ~speck
    if max_hole > 0 and inside.any():
        label, area = pieces(~inside, connectivity=4)
        fillable = area <= max_hole
        border = np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]])
        fillable[np.unique(border)] = False
        fillable[0] = False
        result = np.where(fillable[label], 1, result).astype(np.float32)
    return result


def pieces(inside: np.ndarray, connectivity: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Int[H, W], the number of each pixel's connected piece (0: none), and Int[N], their areas."""
    import cv2

    _, label, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=connectivity)
    return np.asarray(label, np.intp), np.asarray(stats[:, cv2.CC_STAT_AREA], np.intp)


def grow(mask: np.ndarray, pixels: float) -> np.ndarray:
    """Move the outline (the 0.5 contour) outwards by `pixels`, inwards when negative; Float[H, W].

    Distances are Euclidean and sub-pixel: the new edge is a ramp one pixel wide.
    """
    import cv2

    inside = mask > 0.5
    if pixels == 0 or not inside.any():
        return mask
    if inside.all():
        return mask
    outwards = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inwards = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # pixel centres lie half a pixel off the outline
    signed = np.where(inside, 0.5 - inwards, outwards - 0.5)
    return np.clip(pixels - signed + 0.5, 0, 1).astype(np.float32)


def refine_edges(masks: Sequence[np.ndarray], guide: np.ndarray, settings: EdgeSettings) -> np.ndarray:
    """Redraw only the band around each mask's edge along the edges of `guide`.

    Args:
        masks: K of Float[H, W] in 0..1.
        guide: Float[H, W], luminance 0..1.
    """
    import cv2

    radius = max(2, round(settings.radius_share * min(guide.shape)))
    edges = GuidedFilter(guide, radius, settings.epsilon, settings.subsample)
    kernel = np.ones((2 * max(1, round(radius / edges.step)) + 1,) * 2, np.uint8)
    result = np.array(masks, np.float32)
    for layer in result:
        small = edges.shrunk(layer)
        band = cv2.dilate(small, kernel)
        band -= cv2.erode(small, kernel)
        band *= 2
        change = edges(layer)
        np.clip(change, 0, 1, out=change)
        change -= layer
        change *= edges.enlarged(np.minimum(band, 1))
        layer += change
    return result


def guided_filter(
    guide: np.ndarray, masks: np.ndarray, radius: int, epsilon: float, subsample: int = 1
) -> np.ndarray:
    """`GuidedFilter` of several masks, Float[K, H, W]."""
    edges = GuidedFilter(guide, radius, epsilon, subsample)
    return np.stack([edges(mask) for mask in masks]) if len(masks) else masks.astype(np.float32)


class GuidedFilter:
    """Edge-preserving filter that fits mask = a * guide + b in windows (He, Sun, Tang: Guided Filter).

    With `subsample` s the fit is done on every s-th pixel (He, Sun: Fast Guided Filter). It is linear in
    the masks: what summed to 1 still does.

    Args:
        guide: Float[H, W].
        radius: window half side in pixels of the full picture.
        epsilon: variance of the guide below which a window counts as flat.
    """

    def __init__(self, guide: np.ndarray, radius: int, epsilon: float, subsample: int = 1):
        height, width = guide.shape
        self.step = max(1, min(subsample, height // 2, width // 2))
        self._size = (width, height)
        self._small = (max(1, width // self.step), max(1, height // self.step))
        self._window = (2 * max(1, round(radius / self.step)) + 1,) * 2
        self._guide = guide.astype(np.float32, copy=False)
        self._grey = self.shrunk(self._guide)
        self._grey_mean = self._mean(self._grey)
        variance = self._mean(self._grey * self._grey) - self._grey_mean * self._grey_mean
        self._scale = 1 / (variance + epsilon)

    def shrunk(self, layer: np.ndarray) -> np.ndarray:
        """Float[h, w] at which the fit is done."""
        import cv2

        layer = layer.astype(np.float32, copy=False)
        return layer if self.step == 1 else cv2.resize(layer, self._small, interpolation=cv2.INTER_AREA)

    def enlarged(self, layer: np.ndarray) -> np.ndarray:
        """Float[H, W] of Float[h, w]."""
        import cv2

        return layer if self.step == 1 else cv2.resize(layer, self._size, interpolation=cv2.INTER_LINEAR)

    def _mean(self, layer: np.ndarray) -> np.ndarray:
        import cv2

        border = cv2.BORDER_REFLECT_101 if min(layer.shape) > 1 else cv2.BORDER_REPLICATE
        return cv2.blur(layer, self._window, borderType=border)

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        """Float[H, W] of one mask Float[H, W]; not clipped."""
        small = self.shrunk(mask)
        mean = self._mean(small)
        slope = self._mean(self._grey * small)
        slope -= self._grey_mean * mean
        slope *= self._scale
        mean -= slope * self._grey_mean
        result = self.enlarged(self._mean(slope)) * self._guide
        result += self.enlarged(self._mean(mean))
        return result
