"""Named soft masks of a batch of pictures, their partition, and their way to the latent grid."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..autocast import without_autocast
from ..categories import PARTITION_PRIORITY
from .blocks import at_full_size
from .doubts import FIELD as DOUBTS
from .layers import ByHand


@dataclass(frozen=True)
class SemanticMasks:
    """Named regions of B pictures of one size.

    Attributes:
        masks: Float[B, K, H, W] in 0..1, one channel per label; fp16 of large pictures.
        labels: K region names, unique.
        persons: for each of the B pictures Float[P, H, W] in 0..1, one soft mask per person, ordered left to
            right (P may be 0 and may differ between pictures); empty when the source cannot tell persons
            apart. Of large pictures Float[P, ceil(H/2), ceil(W/2)], see `blocks.py`.
        provenance: what made the masks ("backend", "weights", settings), as strings, stored with the cache.
        hand: of one picture, what a person decided of it, and the masks before; `masks` are both together.
    """

    masks: Tensor
    labels: tuple[str, ...]
    persons: tuple[Tensor, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    hand: ByHand | None = None

    def __post_init__(self):
        if self.masks.ndim != 4:
            raise ValueError(f"masks must be [B, K, H, W], got shape {list(self.masks.shape)}")
        if self.masks.shape[1] != len(self.labels):
            raise ValueError(
                f"{self.masks.shape[1]} mask channels but {len(self.labels)} labels {list(self.labels)}"
            )
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must be unique, got {list(self.labels)}")
        if self.persons and len(self.persons) != self.masks.shape[0]:
            raise ValueError(f"{self.masks.shape[0]} pictures but person masks for {len(self.persons)}")
        if self.hand is not None and tuple(self.hand.machine.shape[1:]) != (*self.masks.shape[2:],):
            raise ValueError(f"hand layers of {list(self.hand.machine.shape[1:])} for masks of {self.size}")
        if self.hand is not None and len(self.masks) != 1:
            raise ValueError(f"hand layers are of one picture, got masks of {len(self.masks)}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every mask."""
        return self.masks.shape[2], self.masks.shape[3]

    def region(self, label: str) -> Tensor:
        """Float[B, H, W] of one label; zeros when no picture was asked for it."""
        if label in self.labels:
            return self.masks[:, self.labels.index(label)]
        return (
            torch.zeros_like(self.masks[:, 0])
            if self.labels
            else self.masks.new_zeros(len(self.masks), *self.size)
        )

    def coverage(self) -> Tensor:
        """Float[B, K]: share of each picture that a region covers, 0..1."""
        means = [layer.float().mean() for layer in self.masks.flatten(0, 1)]
        return torch.tensor(means).reshape(self.masks.shape[:2]).to(self.masks.device)

    def crop(self, top: int, left: int, height: int, width: int) -> "SemanticMasks":
        """The same window cut out of every mask; they are of another picture then, see `provenance`."""
        window = (slice(top, top + height), slice(left, left + width))
        return replace(
            self,
            provenance=of_another_picture(self.provenance),
            hand=None,
            masks=self.masks[:, :, window[0], window[1]],
            persons=tuple(p[:, window[0], window[1]] for p in self._whole_persons()),
        )

    def mirrored(self) -> "SemanticMasks":
        """Left and right changed; persons are counted from the other side then."""
        return replace(
            self,
            provenance=of_another_picture(self.provenance),
            hand=None,
            masks=self.masks.flip(3),
            persons=tuple(p.flip(2).flip(0) for p in self._whole_persons()),
        )

    def padded(self, top: int, left: int, bottom: int, right: int) -> "SemanticMasks":
        """Borders of so many pixels added, in which no region is: nothing there is trained."""
        borders = (left, right, top, bottom)
        return replace(
            self,
            provenance=of_another_picture(self.provenance),
            hand=None,
            masks=torch.nn.functional.pad(self.masks, borders),
            persons=tuple(torch.nn.functional.pad(p, borders) for p in self._whole_persons()),
        )

    def _whole_persons(self) -> Iterator[Tensor]:
        """Float[P, H, W] of each picture."""
        return (at_full_size(persons, self.size) for persons in self.persons)

    def to_latent(self, latent_size: tuple[int, int]) -> "SemanticMasks":
        """Area-pool every mask to `latent_size` (height, width); coverage is kept exactly.

        Raises:
            ValueError: when the aspect ratios differ by more than one latent cell, because then the latent
                shows another cut of the picture than the masks do.
        """
        check_aspect(self.size, latent_size)
        return replace(
            self,
            provenance=of_another_picture(self.provenance),
            hand=None,
            masks=downsample_mask_to_latent(self.masks.flatten(0, 1), latent_size).unflatten(
                0, self.masks.shape[:2]
            ),
            persons=tuple(downsample_mask_to_latent(p, latent_size) for p in self.persons),
        )


PICTURE = "picture"
"""Field of the provenance: the name of the one picture's file, for messages."""


def picture_names(masks: Sequence[SemanticMasks]) -> tuple[str, ...]:
    """The file of each picture, by what its masks say; none where one of them does not say it."""
    names = [one.provenance.get(PICTURE, "") for one in masks if len(one.masks) == 1]
    return tuple(names) if len(names) == len(masks) and all(names) else ()


def of_another_picture(provenance: Mapping[str, str]) -> dict[str, str]:
    """Without what ties masks to one picture file, or to places in it: a file of such masks counts as made by
    hand."""
    tied = ("image_digest", "picture_stamp", DOUBTS)
    return {key: value for key, value in provenance.items() if key not in tied}


def check_aspect(mask_size: tuple[int, int], latent_size: tuple[int, int]) -> None:
    """Raise ValueError unless a picture of `mask_size` fits a latent of `latent_size` to within one cell."""
    (height, width), (rows, columns) = mask_size, latent_size
    cell = max(height / rows, width / columns)
    if abs(height / cell - rows) >= 1 or abs(width / cell - columns) >= 1:
        raise ValueError(
            f"masks of {width}x{height} do not fit a latent of {columns}x{rows} cells: the aspect ratio "
            f"differs ({width / height:.3f} against {columns / rows:.3f}). Crop picture and masks "
            "together before encoding (node 'Fit To Training Size'), or segment the picture that was encoded."
        )


def _overlap(length: int, cells: int, like: Tensor) -> Tensor:
    """Float[cells, length]: the share of each cell that each source pixel covers; every row sums to 1."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * (length / cells)
    pixels = torch.arange(length, dtype=torch.float64)
    upper = torch.minimum(edges[1:, None], pixels[None] + 1)
    lower = torch.maximum(edges[:-1, None], pixels[None])
    return ((upper - lower).clamp_min(0) * (cells / length)).to(like)


def downsample_mask_to_latent(mask: Tensor, latent_size: Sequence[int]) -> Tensor:
    """Average a mask over the exact area of each latent cell.

    Mass is conserved for any ratio, whole or not: ``mask.mean() == result.mean()``. (Bilinear resampling, in
    contrast, loses structures thinner than a cell.)

    Args:
        mask: Float[H, W] or Float[B, H, W] in 0..1; integer and bool masks are taken as 0/1.
        latent_size: (height, width) of the latent grid.

    Returns:
        Float[h, w] or Float[B, h, w] in 0..1.
    """
    if mask.ndim not in (2, 3):
        raise ValueError(f"mask must be [H, W] or [B, H, W], got shape {list(mask.shape)}")
    rows, columns = (int(n) for n in latent_size)
    if rows < 1 or columns < 1:
        raise ValueError(f"latent_size must be positive, got {rows}x{columns}")
    if not mask.is_floating_point():
        mask = (mask != 0).float()
    if mask.element_size() == 2:  # one by one: as fp32, all of them would be twice as large
        layers = [
            downsample_mask_to_latent(layer.float(), latent_size)
            for layer in mask.reshape(-1, *mask.shape[-2:])
        ]
        return (
            torch.stack(layers).reshape(*mask.shape[:-2], rows, columns)
            if layers
            else mask.new_zeros(*mask.shape[:-2], rows, columns).float()
        )
    vertical = _overlap(mask.shape[-2], rows, mask)
    horizontal = _overlap(mask.shape[-1], columns, mask)
    with without_autocast(mask.device):
        return (vertical @ mask @ horizontal.T).clamp(0, 1)


def partition(
    scores: Mapping[str, Tensor],
    person: Tensor | None = None,
    priority: Sequence[str] = PARTITION_PRIORITY,
) -> dict[str, Tensor]:
    """Turn overlapping soft detections into regions that share every pixel out between them.

    Each region takes what its score asks for out of what higher priorities left; background is all the rest.

    Args:
        scores: Float[..., H, W] in 0..1 by region name, at least one; a name of `priority` that is missing
            counts as zeros, a name outside `priority` is left out of the result.
        person: Float[..., H, W] in 0..1, the union of all persons; parts are cut to it. None: parts may be
            anywhere.
        priority: names, highest first.

    Returns:
        Float[..., H, W] for every name in `priority` plus "background"; they sum to 1 at every pixel.
    """
    left = torch.ones_like(next(iter(scores.values()))) if person is None else person.clamp(0, 1)
    nobody = 1 - left
    regions = {}
    for name in priority:
        score = scores.get(name)
        regions[name] = torch.zeros_like(left) if score is None else torch.minimum(score.clamp_min(0), left)
        left = left - regions[name]
    regions["background"] = nobody + left
    return regions
