"""cache_masks.py in a process that tells what it imported."""

import runpy
import sys


def cache_masks(program: str, *arguments: str) -> int:
    """Run the file `program`, which is cache_masks.py; then write all modules to standard error."""
    sys.argv = [program, *arguments]
    status = 1
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as ended:
        status = int(ended.code or 0)
    sys.stderr.write("\n".join(sys.modules))
    return status
