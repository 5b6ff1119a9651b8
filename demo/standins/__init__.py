"""A stand-in for a checkpoint, which cannot be had offline; only the demo's own server loads this package."""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


async def comfy_entrypoint():
    """The ComfyUI extension with the one stand-in node."""
    # the node takes the drawn world from the checkout; at the end, so that nothing of ComfyUI is hidden
    sys.path.append(os.fspath(CHECKOUT))
    from .nodes import StandInExtension

    return StandInExtension()
