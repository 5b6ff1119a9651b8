"""Networks of transformers whose weights are all from their file."""

from pathlib import Path
from typing import Any

import torch

from ..files.text import some
from .damage import OtherNetworkError

MOST_LACKING = 0.1
"""Share of a network's tensors that its file may lack; versions of a library differ in a few."""
MOST_NAMED = 2


def pretrained(network: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A network with the weights of a folder, which nothing is fetched for.

    transformers takes random numbers for what a file lacks, and goes on.

    Args:
        network: the class.

    Raises:
        OtherNetworkError: the safetensors hold another network than config.json says.
    """
    model, found = network.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    count, lacking = len(model.state_dict()), sorted(found["missing_keys"])
    unlike = sorted((name, list(here), list(wanted)) for name, here, wanted in found["mismatched_keys"])
    faults = []
    if len(lacking) > MOST_LACKING * count:
        faults.append(f"it lacks {len(lacking)} of {count} tensors ({some(lacking, MOST_NAMED)})")
    if unlike:
        name, here, wanted = unlike[0]
        faults.append(f"{len(unlike)} of {count} tensors have another shape ({name}: {here}, not {wanted})")
    if faults:
        files = some((path.name for path in sorted(folder.glob("*.safetensors"))), MOST_NAMED)
        raise OtherNetworkError(
            f"{folder}: {files} holds another network than config.json says: {'; '.join(faults)}"
        )
    return model
