"""Make the mask files of a dataset from a plain checkout: `python cache_masks.py DATASET`; see `--help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from semantic_focus.commands.main import cache_masks  # noqa: E402 (after the line that makes it findable)

if __name__ == "__main__":
    sys.exit(cache_masks())
