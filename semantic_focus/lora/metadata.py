"""What a LoRA file says about itself in its header."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

IMPLEMENTATION, NAME = "modelspec.implementation", "ComfyUI-SemanticFocus"
"""ModelSpec's field for the program that made a file, and what we write into it."""

NETWORK_FIELDS: Mapping[str, Mapping[str, str]] = {
    "lora_down.weight": {"ss_network_module": "networks.lora"},
    "hada_w1_b": {"ss_network_module": "lycoris.kohya", "ss_network_args": '{"algo": "loha"}'},
    "lokr_": {"ss_network_module": "lycoris.kohya", "ss_network_args": '{"algo": "lokr"}'},
}
"""sd-scripts' fields for a kind of adapter, by a part of its keys."""


@dataclass(frozen=True)
class Provenance:
    """How a LoRA came about; empty or None: not known.

    Attributes:
        base_model: fingerprint of the model that it was trained on.
        base_model_name: its name for people.
        settings: of the training, as JSON can have them.
        region_weights: region -> weight in the loss.
        dataset: digest of pictures, captions and masks.
        steps: optimizer updates so far.
    """

    base_model: str = ""
    base_model_name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    region_weights: Mapping[str, float] = field(default_factory=dict)
    dataset: str = ""
    steps: int | None = None


def lora_metadata(
    tensors: Mapping[str, Tensor], key_style: str, provenance: Provenance | None = None
) -> dict[str, str]:
    """The header of a file with these tensors in generic keys: ours, and what other tools read of it.

    `ss_…` are sd-scripts' fields, `modelspec.…` those of Stability's ModelSpec; only what is known is there.
    """
    known = provenance or Provenance()
    fields = {
        "modelspec.sai_model_spec": "1.0.0",
        IMPLEMENTATION: NAME,
        "semantic_focus.key_style": key_style,
        "semantic_focus.base_model": known.base_model,
        "semantic_focus.settings": json.dumps(known.settings, sort_keys=True) if known.settings else "",
        "semantic_focus.region_weights": json.dumps(known.region_weights) if known.region_weights else "",
        "semantic_focus.dataset": known.dataset,
        "semantic_focus.steps": "" if known.steps is None else str(known.steps),
        "ss_steps": "" if known.steps is None else str(known.steps),
        "ss_sd_model_name": known.base_model_name,
        **_network(tensors),
    }
    return {name: value for name, value in fields.items() if value}


def made_by_us(header: Mapping[str, str]) -> bool:
    """Whether a LoRA with this header was written by this pack."""
    return header.get(IMPLEMENTATION) == NAME


def _network(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """sd-scripts' fields of the adapters: kind, rank and alpha where all layers have the same."""
    kinds = [fields for part, fields in NETWORK_FIELDS.items() if any(part in key for key in tensors)]
    ranks = {
        len(tensor)
        for key, tensor in tensors.items()
        if key.endswith(("lora_down.weight", "hada_w1_b", "lokr_w2_b"))
    }
    alphas = {float(tensor) for key, tensor in tensors.items() if key.endswith(".alpha")}
    dynamic = "Dynamic"  # sd-scripts' own word for values that differ
    return {
        **(kinds[0] if len(kinds) == 1 else {}),
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else dynamic if ranks else "",
        "ss_network_alpha": f"{alphas.pop():g}" if len(alphas) == 1 else dynamic if alphas else "",
    }
