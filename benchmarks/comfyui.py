"""ComfyUI in the process of a benchmark."""

import os
import sys
from pathlib import Path


def import_comfyui(folder: Path) -> None:
    """Make ComfyUI importable, before this pack's own `nodes`; on the CPU, with torch's attention.

    Raises:
        FileNotFoundError: there is no ComfyUI.
    """
    folder = folder.resolve()
    if not (folder / "comfy" / "cli_args.py").is_file():
        raise FileNotFoundError(f"{folder} is no ComfyUI folder: run `make setup`, or name one")
    if os.fspath(folder) not in sys.path:
        sys.path.insert(0, os.fspath(folder))
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = True
    args.use_pytorch_cross_attention = True
