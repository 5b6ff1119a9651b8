"""CONDITIONING as a training takes it: one prompt per picture."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Conditioning = list[tuple[Tensor, dict[str, Any]]]
"""ComfyUI's CONDITIONING: text embedding Float[1, N, D] with its extras, one entry per prompt."""

UNSUPPORTED_EXTRAS = {
    "control": "a ControlNet",
    "gligen": "GLIGEN boxes",
    "area": "an area",
    "mask": "a mask",
    "hooks": "hooks (a LoRA or model options for this prompt alone)",
    "start_percent": "a range of timesteps",
}


def conditioning_per_picture(conditionings: Sequence[Conditioning], pictures: int) -> list[Conditioning]:
    """One conditioning per picture, from a list as long as the pictures, one with as many entries, or a
    single one.

    Raises:
        ValueError: the numbers do not match.
    """
    if len(conditionings) == 1 and len(conditionings[0]) == pictures:
        return [[entry] for entry in conditionings[0]]
    if len(conditionings) == 1:
        return list(conditionings) * pictures
    if len(conditionings) != pictures:
        raise ValueError(
            f"{pictures} pictures but {len(conditionings)} conditionings: give one for all, or one per "
            "picture (connect the captions of the dataset to the text encoder)"
        )
    return list(conditionings)


def check_conditioning(conditioning: Conditioning) -> None:
    """Raise ValueError for a conditioning that training cannot use."""
    if len(conditioning) != 1:
        raise ValueError(
            f"a picture has {len(conditioning)} combined prompts: training takes one conditioning per picture"
        )
    for name, meaning in UNSUPPORTED_EXTRAS.items():
        if conditioning[0][1].get(name) is not None:
            raise ValueError(f"the conditioning carries {meaning}, which training cannot use: take it out")


def detached(value: Any) -> Any:
    """A copy of nested conditioning whose tensors may be used in training (inference tensors may not)."""
    if torch.is_tensor(value):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: detached(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(detached(item) for item in value)
    return value
