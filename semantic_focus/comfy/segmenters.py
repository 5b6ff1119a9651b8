"""The table of segmenters inside ComfyUI: those of the library, and those that only ComfyUI can load.

Importing this file does not import ComfyUI.
"""

from types import MappingProxyType

from ..segmenters.table import BACKENDS as OF_THE_LIBRARY
from ..segmenters.table import Backend, SegmenterTable

SAM3 = Backend(
    ".sam3", "best", "SAM 3 from ComfyUI's checkpoints, ComfyUI 0.28 or newer", package=__package__ or ""
)


def _with_comfyui(library: SegmenterTable) -> SegmenterTable:
    """ComfyUI's own SAM 3 comes right after the library's: both are of the best tier."""
    table = {}
    for name, backend in library.items():
        table[name] = backend
        if name == "sam3":
            table["sam3_comfy"] = SAM3
    return MappingProxyType(table)


BACKENDS = _with_comfyui(OF_THE_LIBRARY)
"""All segmenters, the best first."""
