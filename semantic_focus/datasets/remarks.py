"""What there is to say of a dataset as a whole: what is left out, read in part, or in no picture."""

from collections.abc import Iterable, Sequence

from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import LazySegmenter
from ..segmenters.ways import all_ways, cannot_find
from .captions import named
from .survey import FIRST_FRAME, Entry


def remarks_on(
    left_out: Iterable[str], entries: Sequence[Entry], request: SegmentRequest, segmenter: LazySegmenter
) -> tuple[str, ...]:
    """Sentences for the head of a report, and for whoever started the run.

    Args:
        left_out: of a `PictureList`.
        entries: what the mask files say of the pictures.
        request: what was looked for.
    """
    moving = [entry.picture.name for entry in entries if FIRST_FRAME in entry.notes]
    return (
        *never_found(entries, request, segmenter),
        *left_out_lines(left_out),
        *first_frame_lines(moving),
    )


def said_before(request: SegmentRequest, segmenter: LazySegmenter) -> list[str]:
    """What there is to know of a request before anything is segmented, in sentences."""
    cannot = segmenter.cannot_look_for(request)
    ways = all_ways(segmenter.folders, segmenter.table) if cannot else ()
    return [cannot_find(cannot, segmenter.name, ways)] if cannot else []


def left_out_lines(left_out: Iterable[str]) -> list[str]:
    """A sentence for each line of what was left out."""
    return [f"left out: {line}" for line in left_out]


def first_frame_lines(names: Sequence[str]) -> list[str]:
    """A sentence about pictures of several frames, if there are any."""
    return [f"of several frames, the first is used: {named(names)}"] if names else []


def by_hand_lines(entries: Sequence[Entry]) -> list[str]:
    """A sentence about regions that were changed by hand, if there are any."""
    made = [entry for entry in entries if entry.by_hand]
    regions = dict.fromkeys(region for entry in made for region in entry.by_hand)
    count = "1 picture" if len(made) == 1 else f"{len(made)} pictures"
    return [f"by hand in {count}, and kept: {', '.join(regions)}"] if made else []


def never_found(entries: Sequence[Entry], request: SegmentRequest, segmenter: LazySegmenter) -> list[str]:
    """A sentence for each reason why categories of a request are empty in every picture that has masks."""
    known = [entry for entry in entries if entry.coverage]
    if not known:
        return []
    there = {label for entry in known for label, share in entry.coverage.items() if share > 0}
    cannot = [name for name in segmenter.cannot_look_for(request) if name not in there]
    empty = [name for name in request.labels if name not in there and name not in cannot]
    lines = []
    if cannot:
        lines.append(cannot_find(cannot, segmenter.name, all_ways(segmenter.folders, segmenter.table)))
    if empty:
        lines.append(
            f"{', '.join(empty)}: in no picture, so a weight on it trains nothing. Try other words, a lower "
            "threshold (@) or another segmenter"
        )
    return lines
