"""What ComfyUI-Manager runs after requirements.txt: OpenCV if there is none, and the segmenter's weights.

OpenCV is not in requirements.txt because its builds (plain, contrib, headless) overwrite each other: whatever
build another pack has installed is left as it is.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

OPENCV = "opencv-python-headless"
LIBRARY = Path(__file__).resolve().parent / "semantic_focus"


def main() -> int:
    """The exit code."""
    command_lines = by_path(LIBRARY / "files" / "command_lines.py")
    weights = by_path(LIBRARY / "segmenters" / "embedded" / "weights.py")
    parser = argparse.ArgumentParser(description="OpenCV, if there is none, and the segmenter's weights.")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="only the weights, for another machine")
    folder = parser.parse_args().to
    try:
        found = importlib.util.find_spec("cv2")
        if folder is None and (found is None or found.origin is None):  # a half removed one has no code
            install(OPENCV)
        sys.stdout.write(f"segmenter weights are in {weights.fetch(folder)}\n")
    except (RuntimeError, OSError) as error:
        pip = command_lines.to_have_pip()
        first = f"\nThis Python has no pip, which installs and fetches. To have it:{pip}" if pip else ""
        again = command_lines.INDENT + command_lines.line(command_lines.python(), Path(__file__).resolve())
        sys.stderr.write(f"{error}{first}\nThen run this again:{again}\n")
        return 1
    return 0


def install(package: str) -> None:
    """Install a package with pip.

    Raises:
        RuntimeError: it cannot be installed.
    """
    if subprocess.run([sys.executable, "-m", "pip", "install", package]).returncode:
        raise RuntimeError(f"{package} is missing, and pip could not install it: see above.")


def by_path(file: Path) -> ModuleType:
    """A file of the library that imports nothing of it: the others need what may not be installed yet."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
