"""Inner tensors of the six networks, made outputs of them: what they know of a picture beside their answer.

A TFLite file is a flatbuffer: a table holds the place of every part, so a longer list of outputs can be
appended and the one number changed that says where the list is. The operations stay as they were, and so do
the values of the outputs that were there before, to the bit. Tensors have numbers, not names: they hold for
the files whose digests `weights.py` names, and for no others.
"""

import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType

SUBGRAPHS, TENSORS, OUTPUTS = 2, 0, 2
"""Places of fields in TFLite's schema: of a model its subgraphs, of a subgraph its tensors and outputs."""

INNER: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "pose_landmark_full.tflite": (226, 240, 279, 289),
        "selfie_segmentation.tflite": (48, 157, 219, 245),
        "pose_detection.tflite": (91, 156, 367),
        "face_landmark.tflite": (51, 81, 111),
    }
)
"""Tensors that are read, by file: ends of residual blocks on the way down and up again."""


def with_outputs(content: bytes, tensors: Sequence[int]) -> bytes:
    """A TFLite file with more outputs: those it had, then `tensors`.

    Raises:
        ValueError: not a TFLite file with one subgraph, or it has no such tensors.
    """
    if content[4:8] != b"TFL3":
        raise ValueError(f"not a TFLite file: it begins with {content[:8]!r}")
    subgraphs = _vector(content, _field(content, _at(content, 0), SUBGRAPHS))
    if _length(content, subgraphs) != 1:
        raise ValueError(f"{_length(content, subgraphs)} subgraphs in the TFLite file, expected 1")
    graph = _at(content, subgraphs + 4)
    count = _length(content, _vector(content, _field(content, graph, TENSORS)))
    if wrong := [number for number in tensors if not 0 <= number < count]:
        raise ValueError(f"tensors {wrong} are not in the TFLite file, which has {count}")
    place = _field(content, graph, OUTPUTS)
    old = _vector(content, place)
    numbers = [*struct.unpack_from(f"<{_length(content, old)}i", content, old + 4), *tensors]
    result = bytearray(content + bytes(-len(content) % 4))
    struct.pack_into("<I", result, place, len(result) - place)
    return bytes(result + struct.pack(f"<I{len(numbers)}i", len(numbers), *numbers))


def _at(content: bytes, place: int) -> int:
    """Where the offset at `place` points to."""
    return place + struct.unpack_from("<I", content, place)[0]


_vector = _at


def _length(content: bytes, vector: int) -> int:
    return struct.unpack_from("<I", content, vector)[0]


def _field(content: bytes, table: int, number: int) -> int:
    """Where a field of a table is: each table names a list of its fields' places relative to it."""
    places = table - struct.unpack_from("<i", content, table)[0]
    slot = 4 + 2 * number
    size = struct.unpack_from("<H", content, places)[0]
    offset = struct.unpack_from("<H", content, places + slot)[0] if slot < size else 0
    if not offset:
        raise ValueError(f"the TFLite file has no field {number} at {table}")
    return table + offset
