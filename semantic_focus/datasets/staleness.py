"""Whether a mask file answers a request, told by its header."""

import dataclasses
import json
from collections.abc import Mapping

from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import LazySegmenter
from .asked import answers
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
        if name not in wanted or header.get(name) == wanted[name]:
            continue
        keep_overlaps = wanted.get("overlaps") == "kept"
        if name != "keywords" or not answers(header.get(name), wanted[name], keep_overlaps):
            return reason.format(found=header.get(name, "unknown"), wanted=wanted[name])
    return None
