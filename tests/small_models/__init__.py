"""Small stand-ins for models that come in three files: ComfyUI's own loaders read them, told by this package
that they are small. Only a test's own server loads it, and the program that writes the files.

Which diffusion model or text encoder a file holds ComfyUI knows by its size; here the file says it.
"""

import json
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.model_detection
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.text_encoders.qwen_vl

MARK = "stand_in"
"""In the header of a diffusion model: its configuration. Among the tensors of a text encoder: its kind."""

TEXT_WIDTH, POOLED_WIDTH = 48, 32

TEXT_MODELS = {
    "CLIPTextModel": {
        "hidden_size": POOLED_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "T5": {
        "d_model": TEXT_WIDTH,
        "num_layers": 1,
        "num_heads": 2,
        "d_kv": 8,
        "d_ff": 32,
        "vocab_size": 32128,
    },
    "Qwen3_4B": {
        "hidden_size": TEXT_WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
    },
    "Qwen25_7BVLI": {
        "hidden_size": TEXT_WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 32,
    },
}
"""By ComfyUI's class: what of its configuration is smaller here."""

VISION = {"hidden_size": 32, "num_heads": 2, "num_layers": 1, "intermediate_size": 32}

NODE_CLASS_MAPPINGS: dict[str, Any] = {}

_model_config_from_unet = comfy.model_detection.model_config_from_unet
_detect_te_model = comfy.sd.detect_te_model
_init = comfy.sd1_clip.SDClipModel.__init__
_vision = comfy.text_encoders.qwen_vl.Qwen2VLVisionTransformer


def model_config_from_unet(*args: Any, metadata: dict[str, str] | None = None, **options: Any) -> Any:
    """As the header has it, else as ComfyUI finds it."""
    if metadata and MARK in metadata:
        kind, settings = json.loads(metadata[MARK])
        return getattr(comfy.supported_models, kind)(settings)
    return _model_config_from_unet(*args, metadata=metadata, **options)


def detect_te_model(weights: dict[str, Any]) -> Any:
    """As the file has it, else as ComfyUI finds it."""
    if MARK in weights:
        return comfy.sd.TEModel[bytes(weights[MARK].tolist()).decode()]
    return _detect_te_model(weights)


def init(
    self: Any,
    *args: Any,
    textmodel_json_config: Any = None,
    model_class: Any = comfy.clip_model.CLIPTextModel,
    **options: Any,
) -> None:
    """A text encoder of a smaller configuration."""
    config = textmodel_json_config
    if config is None:
        config = Path(comfy.sd1_clip.__file__).with_name("sd1_clip_config.json")
    if not isinstance(config, dict):
        config = json.loads(Path(config).read_text(encoding="utf-8"))
    config = {**config, **TEXT_MODELS.get(model_class.__name__, {})}
    _init(self, *args, textmodel_json_config=config, model_class=model_class, **options)


def vision(**options: Any) -> Any:
    """Qwen2.5-VL's eyes, which see nothing here."""
    return _vision(**{**options, **VISION})


comfy.model_detection.model_config_from_unet = model_config_from_unet
comfy.sd.detect_te_model = detect_te_model
comfy.sd1_clip.SDClipModel.__init__ = init
comfy.text_encoders.qwen_vl.Qwen2VLVisionTransformer = vision  # pyright: ignore[reportAttributeAccessIssue]
