"""The header of a mask file, and what it says of hand layers.

A file with hand layers has another format version, and no field "image_digest" but one of another name: what
knows no hand layers (version 0.2.0 of this pack) takes it for made by hand as a whole, reads its masks, which
are those of hand and machine together, and never replaces it.
"""

from collections.abc import Mapping

from ..files.text import parsed_json

DIGEST = "image_digest"
"""Header field that our segmenters write, and that goes when masks are changed by hand as a whole."""
FORMAT_VERSION = "2"
HAND_VERSION = "3"
"""Format version of a file with hand layers."""
BY_HAND = "by_hand"
"""JSON list of the regions of which a person decided something."""
EVERYWHERE = "by_hand_everywhere"
"""Of these, the ones that are decided at every pixel."""
MACHINE_LABELS = "machine_labels"
"""JSON list of the regions that the segmenter answered with."""
HAND_DIGEST = "by_hand_image_digest"
"""The picture's digest."""

OF_HAND = (BY_HAND, EVERYWHERE, MACHINE_LABELS, HAND_DIGEST)


def known_header(metadata: Mapping[str, str]) -> dict[str, str]:
    """A file's header as it would be without hand layers, and beside it what it says of these."""
    if metadata.get("format_version") != HAND_VERSION or HAND_DIGEST not in metadata:
        return dict(metadata)
    header = {**metadata, "format_version": FORMAT_VERSION, DIGEST: metadata[HAND_DIGEST]}
    del header[HAND_DIGEST]
    return header


def has_hand(header: Mapping[str, str]) -> bool:
    """Whether a `known_header` is of a file with hand layers."""
    return DIGEST in header and BY_HAND in header


def by_hand_of(header: Mapping[str, str], field: str = BY_HAND) -> tuple[str, ...]:
    """The regions that a `known_header` says are made by hand; none where that cannot be read."""
    if not has_hand(header):
        return ()
    try:
        told = parsed_json(header.get(field, "[]"))
    except ValueError:
        return ()
    return tuple(map(str, told)) if isinstance(told, list) else ()


def without_hand(header: Mapping[str, str]) -> dict[str, str]:
    """A `known_header` without what it says of hand layers."""
    return {name: text for name, text in header.items() if name not in OF_HAND}


def with_fields(metadata: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    """A file's own header, hand layers or not, with these fields of a `known_header`."""
    digest = HAND_DIGEST if HAND_DIGEST in metadata else DIGEST
    return {**metadata, **{digest if name == DIGEST else name: text for name, text in fields.items()}}
