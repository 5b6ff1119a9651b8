"""What is imported when weights are looked for, for test_model_files."""

import sys
from pathlib import Path

RUNTIMES = {"transformers", "huggingface_hub", "sam2", "hydra", "cv2", "ai_edge_litert", "mediapipe"}


def look_for_weights(folder: str) -> None:
    """Ask each segmenter for its weights in a folder, and write the runtimes that this imported."""
    from semantic_focus.segmenters.table import BACKENDS

    for backend in BACKENDS.values():
        backend.functions().missing({"sam3": [Path(folder)]})
    sys.stdout.write("\n".join(RUNTIMES & set(sys.modules)))
