"""Whether a mask file answers a request, told by its header."""

import dataclasses
import json
from collections.abc import Mapping

from ..files.text import parsed_json
from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import LazySegmenter
from .mask_header import FORMAT_VERSION

PROCESSING = "1"
"""Raised with every change of what all segmenters share: refinement, lighting, partition."""


def request_fields(request: SegmentRequest, segmenter: LazySegmenter) -> dict[str, str]:
    """The header fields that must match, besides the picture's digest, for a file to be fresh."""
    asked = segmenter.answerable(request).prompts
    keywords = (
        list(asked)
        if segmenter.fixed
        else {
            name: dataclasses.asdict(prompt) if segmenter.prompted else {} for name, prompt in asked.items()
        }
    )
    return {
        "format_version": FORMAT_VERSION,
        "sam_version": f"{segmenter.name} {segmenter.weights_id}",
        "keywords": json.dumps(keywords, ensure_ascii=False),
        "processing": PROCESSING,
        "refine": request.refine,
        "overlaps": "kept" if request.keep_overlaps and segmenter.overlaps else "shared out",
    }


def stale_reason(header: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
    """Why a file with this header does not answer a request; None when it does.

    Args:
        wanted: `request_fields`, and "image_digest" where the picture is at hand.
    """
    reasons = {
        "format_version": "its format version is {found}, now {wanted}",
        "image_digest": "it belongs to another picture, or the picture was edited since",
        "sam_version": "its segmenter is {found}, now {wanted}",
        "keywords": "the keywords changed",
        "processing": "it was made by an older version",
        "refine": "its refinement is {found}, now {wanted}",
        "overlaps": "its overlaps are {found}, now {wanted}",
    }
    for name, reason in reasons.items():
        if name in wanted and not _answers(name, header.get(name), wanted[name]):
            return reason.format(found=header.get(name, "unknown"), wanted=wanted[name])
    return None


def _answers(name: str, found: str | None, wanted: str) -> bool:
    """Whether a header field is what is wanted. A list of keywords is one of categories that must be there:
    its segmenter reads no words, and finds each category for itself.
    """
    if found == wanted or name != "keywords":
        return found == wanted
    try:
        asked, there = parsed_json(wanted), parsed_json(found or "null")
    except ValueError:
        return False
    return isinstance(asked, list) and isinstance(there, list | dict) and set(asked) <= set(map(str, there))
