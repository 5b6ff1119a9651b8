"""What is imported when weights are looked for, for test_model_files."""

import sys
from pathlib import Path

RUNTIMES = {"transformers", "huggingface_hub", "sam2", "hydra", "cv2", "ai_edge_litert", "mediapipe"}


def look_for_weights(folder: str) -> None:
    """Ask each segmenter for its weights in a folder, the embedded one last, and write the runtimes that this
    imported: before it, and with it.
    """
    from semantic_focus.segmenters.table import BACKENDS

    imported = []
    for names in (set(BACKENDS) - {"mediapipe"}, {"mediapipe"}):
        for name in names:
            BACKENDS[name].functions().missing({"sam3": [Path(folder)]})
        imported.append(" ".join(sorted(RUNTIMES & set(sys.modules))))
    sys.stdout.write("\n".join(imported))
