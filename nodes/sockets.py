"""Our socket types; everything else travels in ComfyUI's own."""

from comfy_api.latest import io

CATEGORY = "SemanticFocus"
"""Menu folder of all nodes."""

SemanticMasksSocket = io.Custom("SEMANTIC_MASKS")
"""A `SemanticMasks` at the size of the pictures; it waits between two nodes as `PackedMasks`."""

LatentMasksSocket = io.Custom("SEMANTIC_LATENT_MASKS")
"""A `SemanticMasks` on the latent grid."""

ObjectiveSocket = io.Custom("SEMANTIC_OBJECTIVE")
"""An `Objective`."""

TimestepsSocket = io.Custom("SEMANTIC_TIMESTEPS")
"""A `TimestepSampling`."""

AdapterSocket = io.Custom("SEMANTIC_ADAPTER")
"""An `AdapterSettings`."""

TrainStateSocket = io.Custom("SEMANTIC_TRAIN_STATE")
"""A `TrainState`: a training between two steps."""

TrainingOptionsSocket = io.Custom("SEMANTIC_TRAINING_OPTIONS")
"""The `ChosenOptions` of Training Options: what LoRA Train Step has no widget for."""

ScenesSocket = io.Custom("SEMANTIC_SCENES")
"""`Scenes`: what the base model made of others, for a training."""

PreviewSocket = io.Custom("SEMANTIC_PREVIEW")
"""A `PreviewPlan`."""
