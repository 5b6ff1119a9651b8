"""Hand layers: what a person decided about the masks of a picture, and the masks that follow.

The machine's masks stay beside them, so that taking back costs nothing and a new segmentation changes the
rest alone. Where a person decided a region, it is as she made it. The other parts (face, hair, clothing,
body) share out what she left of a pixel by the usual priority, and the background takes what nobody has. Soft
layers, categories of the user's own, and regions that were left to overlap take nothing from each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..categories import PARTITION_PRIORITY
from ..keywords import check_name
from .by_hand import BACKGROUND, check_same, overlaps, set_category
from .layers import ByHand, HandLayer
from .masks import SemanticMasks

EXCLUSIVE = (*PARTITION_PRIORITY, BACKGROUND)
"""Regions that exclude each other, highest priority first."""
ROWS = 256
"""Rows that are worked on at a time, to take little."""
TOLERANCE = 1e-4
"""Excess over 1 of several regions made by hand that is rounding: bytes are 1/255."""


def with_hand(
    masks: SemanticMasks, layers: Mapping[str, HandLayer], new: Iterable[str] = ()
) -> SemanticMasks:
    """The masks of one picture with these hand layers in place of those that it has.

    Args:
        masks: their machine part stays; a region that only a person made becomes the last label.
        layers: one that says nothing is left out.

    Raises:
        ValueError: more than one picture, or a layer of another size.
    """
    if len(masks.masks) != 1:
        raise ValueError(f"hand layers are of one picture, got masks of {len(masks.masks)}")
    for name, layer in layers.items():
        for part in (layer.value, layer.said):
            if tuple(part.shape) != masks.size:
                raise ValueError(
                    f"{name}: the hand layer is {list(part.shape)}, the picture {list(masks.size)}"
                )
    before = machine_part(masks)
    layers = {name: layer for name, layer in layers.items() if bool(layer.said.any())}
    if not layers:
        return before
    hand = ByHand(before.masks[0], before.labels, layers, frozenset(new).intersection(layers))
    labels = (*before.labels, *(name for name in layers if name not in before.labels))
    return replace(masks, masks=_composed(hand, labels)[None], labels=labels, hand=hand)


def machine_part(masks: SemanticMasks) -> SemanticMasks:
    """The masks of one picture as they were before a person changed them."""
    if masks.hand is None:
        return masks
    return replace(masks, masks=masks.hand.machine[None], labels=masks.hand.machine_labels, hand=None)


def whole(masks: SemanticMasks) -> SemanticMasks:
    """Masks of which some labels were left out, with all that they were made from."""
    return masks if masks.hand is None else with_hand(masks, masks.hand.layers, masks.hand.new)


def made_by_hand(masks: SemanticMasks) -> tuple[str, ...]:
    """The regions of one picture of which a person decided something."""
    return () if masks.hand is None else tuple(masks.hand.layers)


def decides_all(labels: Sequence[str], everywhere: Iterable[str]) -> bool:
    """Whether regions that a person decided at every pixel leave nothing of these labels to a segmenter."""
    decided = set(everywhere)
    if decided.issuperset(PARTITION_PRIORITY):  # the background is what they leave
        decided.add(BACKGROUND)
    return bool(labels) and decided.issuperset(labels)


def joined(
    older: Mapping[str, HandLayer], newer: Mapping[str, HandLayer], shared_out: bool = True
) -> dict[str, HandLayer]:
    """Hand layers of one picture, the newer ones put over the older ones.

    At the same pixel of the same region the newer counts; elsewhere the older stays. Regions that exclude
    each other give way to a newer one where both want more than there is.

    Args:
        shared_out: False leaves overlaps.
    """
    found = {name: _over(older.get(name), newer.get(name)) for name in (*older, *newer)}
    parts = [name for name in EXCLUSIVE if name in found]
    if not shared_out or len(parts) < 2:
        return found
    left = torch.ones_like(found[parts[0]].value, dtype=torch.float32)
    for is_new in (True, False):
        for name in parts:
            layer = found[name]
            fresh = newer[name].said if name in newer else torch.zeros_like(layer.said)
            here = layer.said & (fresh if is_new else ~fresh)
            value = torch.where(here, _cut(layer.value, left), layer.value)
            found[name] = HandLayer(value, layer.said)
            left = left - torch.where(here, value.float(), 0)
    return found


def _over(older: HandLayer | None, newer: HandLayer | None) -> HandLayer:
    if older is None or newer is None:
        layer = newer or older
        assert layer is not None
        return layer
    value = torch.where(newer.said, newer.value.to(older.value), older.value)
    return HandLayer(value, newer.said | older.said)


def _cut(value: Tensor, left: Tensor) -> Tensor:
    """Values that fit into what is left; as they are where they exceed it by rounding only."""
    return torch.where(value > left + TOLERANCE, left.clamp_min(0).to(value), value)


def _composed(hand: ByHand, labels: Sequence[str]) -> Tensor:
    """Float[K, H, W]: the masks of these labels."""
    machine = dict(zip(hand.machine_labels, hand.machine, strict=True))
    overlapping = overlaps(SemanticMasks(hand.machine[None], hand.machine_labels))
    result = hand.machine.new_empty(len(labels), *hand.machine.shape[1:])
    for top in range(0, hand.machine.shape[1], ROWS):
        band = slice(top, top + ROWS)
        if not any(bool(layer.said[band].any()) for layer in hand.layers.values()):
            for into, label in zip(result, labels, strict=True):
                into[band] = machine[label][band] if label in machine else 0
            continue
        before = {name: layer[band].float() for name, layer in machine.items()}
        layers = {
            name: HandLayer(layer.value[band].to(hand.machine).float(), layer.said[band])
            for name, layer in hand.layers.items()
        }
        after = {**_alone(before, layers), **_parts(before, layers, not overlapping)}
        for into, label in zip(result, labels, strict=True):
            into[band] = after[label]
    return result


def _alone(before: Mapping[str, Tensor], layers: Mapping[str, HandLayer]) -> dict[str, Tensor]:
    """Each region by itself, as if it took nothing from others."""
    found = dict(before)
    for name, layer in layers.items():
        machine = before[name] if name in before else torch.zeros_like(layer.value)
        found[name] = torch.where(layer.said, layer.value, machine)
    return found


def _parts(
    before: Mapping[str, Tensor], layers: Mapping[str, HandLayer], shared_out: bool
) -> dict[str, Tensor]:
    """The regions that exclude each other, and the background."""
    made = {name: layers[name] for name in EXCLUSIVE if name in layers}
    names = [name for name in PARTITION_PRIORITY if name in before or name in made]
    if not made:
        return {}
    touched = torch.stack([layer.said for layer in made.values()]).any(0)
    left = torch.ones_like(next(iter(made.values())).value)
    found = {}
    for name, layer in made.items():
        found[name] = _cut(layer.value, left) if shared_out else layer.value
        left = left - torch.where(layer.said, found[name], 0)
    left = left.clamp_min(0)
    after = {}
    for name in names:
        machine = before.get(name, torch.zeros_like(left))
        share = torch.minimum(machine, left) if shared_out else machine
        said = made[name].said if name in made else torch.zeros_like(touched)
        left = left - torch.where(said, 0, share)
        share = torch.where(said, found[name], share) if name in made else share
        after[name] = torch.where(touched, share, machine)
    if BACKGROUND in before or BACKGROUND in made:
        nothing = torch.zeros_like(left)
        machine = before.get(BACKGROUND, nothing)
        were = _union([before[name] for name in names if name in before] or [nothing], shared_out)
        are = _union(list(after.values()) or [nothing], shared_out)
        rest = (machine + were - are).clamp(0, 1)
        rest = torch.minimum(rest, 1 - are) if shared_out else rest
        if BACKGROUND in made:
            rest = torch.where(made[BACKGROUND].said, found[BACKGROUND], rest)
        after[BACKGROUND] = torch.where(touched, rest, machine)
    return after


def _union(layers: Sequence[Tensor], shared_out: bool) -> Tensor:
    stack = torch.stack(list(layers))
    return stack.sum(0).clamp_max(1) if shared_out else stack.amax(0)


def category_by_hand(name: str, mask: Tensor, masks: SemanticMasks | None = None) -> SemanticMasks:
    """Masks in which a person decided the category `name` at every pixel.

    Of one picture that a segmenter answered, the machine's part is kept beside it and a mask file of the
    result is a hit, with this region by hand. Other masks become made by hand as a whole, see `set_category`.

    Args:
        name: category; a new one becomes the last label.
        mask: Float[B, H, W] in 0..1.
        masks: of the same B pictures, in the same size.

    Raises:
        ValueError: an unusable name, another number of pictures, or another size.
    """
    if masks is None or len(masks.masks) != 1 or "image_digest" not in masks.provenance:
        return set_category(name, mask, masks)
    check_name(name)
    check_same(name, mask, masks)
    value = mask[0].to(masks.masks).clamp(0, 1)
    layers = {} if masks.hand is None else dict(masks.hand.layers)
    new = {name} if masks.hand is None else {*masks.hand.new, name}
    shared_out = not (name in EXCLUSIVE and overlaps(machine_part(masks)))
    decided = {name: HandLayer(value, torch.ones_like(value, dtype=torch.bool))}
    made = with_hand(masks, joined(layers, decided, shared_out), new)
    labels = masks.labels if name in masks.labels else (*masks.labels, name)
    return replace(made, masks=torch.stack([made.region(label) for label in labels], 1), labels=labels)
