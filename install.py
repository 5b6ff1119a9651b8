"""What ComfyUI-Manager runs after requirements.txt: fetches the weights of the embedded segmenter.

The weights module is run by its path because an embedded Python does not put this folder on its search path.
"""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(
        str(Path(__file__).resolve().parent / "semantic_focus" / "weights.py"), run_name="__main__"
    )
