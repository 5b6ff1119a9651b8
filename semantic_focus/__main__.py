"""The command line: `python -m semantic_focus`, or by the path of this folder, from anywhere."""

import sys
from pathlib import Path

if not __package__:
    folder = Path(__file__).resolve().parent
    # without this folder itself, whose package `comfy` would hide ComfyUI's
    sys.path[:] = [str(folder.parent), *(place for place in sys.path if Path(place).resolve() != folder)]

from semantic_focus.commands.main import main  # noqa: E402
from semantic_focus.files.command_lines import line, python  # noqa: E402 (after what makes it findable)

if __name__ == "__main__":
    words = ("-m", "semantic_focus") if __package__ else (sys.argv[0],)
    sys.exit(main(program=line(Path(python()).name, *words)))
