"""The smallest files that could be weights: what stands for a model that is not loaded."""

import struct

SAFETENSORS = struct.pack("<Q", 2) + b"{}"
PICKLE = b"\x80\x02}q\x00."
TFLITE = b"\x1c\0\0\0TFL3"

BY_SUFFIX = {".safetensors": SAFETENSORS, ".pt": PICKLE, ".pth": PICKLE, ".ckpt": PICKLE, ".tflite": TFLITE}
"""Content by the ending of a file's name; nothing for others."""


def whole_safetensors(size: int) -> bytes:
    """A whole file of about this many bytes, with one tensor that is no constant."""
    header = b'{"x":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    return struct.pack("<Q", len(header)) + header + bytes(index * 31 % 251 for index in range(size))
