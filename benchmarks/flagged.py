"""Whether a segmenter points at what it gets wrong: its doubts against drawings."""

from collections.abc import Iterable, Mapping, Sequence

from semantic_focus.regions.doubts import doubts_of
from semantic_focus.regions.masks import SemanticMasks

WRONG, RIGHT = 0.6, 0.8
"""A region is wrong below the one IoU; in a good picture, every region has the other at least."""


def flagged_regions(masks: SemanticMasks, regions: Sequence[str]) -> frozenset[str]:
    """The regions of the only picture that a user is told to look at.

    Where a person may have been overlooked, that is every region of which nothing was found.
    """
    doubts = doubts_of(masks.provenance)
    flagged = {doubt.region for doubt in doubts[0] if doubt.flagged} if doubts else set()
    nobody = bool(masks.persons) and not len(masks.persons[0])
    if nobody or "background" in flagged:
        flagged |= {name for name in regions if not bool((masks.region(name)[0] > 0.5).any())}
    return frozenset(flagged)


def told(ious: Mapping[str, Mapping[str, float]], flagged: Mapping[str, frozenset[str]]) -> Iterable[str]:
    """How many wrong regions are flagged, and how many good pictures.

    Args:
        ious: by picture and region, where known.
        flagged: by picture.
    """
    wrong = [
        (name, region) for name, found in ious.items() for region, value in found.items() if value < WRONG
    ]
    caught = [(name, region) for name, region in wrong if region in flagged[name]]
    good = [name for name, found in ious.items() if found and min(found.values()) >= RIGHT]
    troubled = [name for name in good if flagged[name]]
    yield f"regions with IoU below {WRONG:g}: {len(caught)} of {len(wrong)} flagged" + _missed(wrong, caught)
    yield f"pictures with all regions at {RIGHT:g} or more: {len(troubled)} of {len(good)} flagged" + (
        ": " * bool(troubled) + ", ".join(troubled)
    )


def _missed(wrong: Sequence[tuple[str, str]], caught: Sequence[tuple[str, str]]) -> str:
    missed = [f"{name} {region}" for name, region in wrong if (name, region) not in caught]
    return f"; not {', '.join(missed)}" if missed else ""
