"""What ComfyUI-Manager runs after requirements.txt: OpenCV if there is none, and the segmenter's weights.

OpenCV is not in requirements.txt because its builds (plain, contrib, headless) overwrite each other: whatever
build another pack has installed is left as it is.
"""

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

OPENCV = "opencv-python-headless"

if __name__ == "__main__":
    found = importlib.util.find_spec("cv2")
    if found is None or found.origin is None:  # a half removed one leaves a folder without code
        subprocess.run([sys.executable, "-m", "pip", "install", OPENCV], check=True)
    # by its path, because an embedded Python does not put this folder on its search path
    embedded = Path(__file__).resolve().parent / "semantic_focus" / "segmenters" / "embedded"
    runpy.run_path(str(embedded / "weights.py"), run_name="__main__")
