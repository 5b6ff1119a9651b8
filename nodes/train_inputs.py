"""What LoRA Train Step asks for, and every node that takes a training as it does."""

from comfy_api.latest import io

from ..semantic_focus.lora.layers import LAYER_CHOICES
from ..semantic_focus.settings.training import RECIPE_MODES
from ..semantic_focus.training.learning_rate import RATE_SCHEDULES
from ..semantic_focus.training.memory import MEMORY_CHOICES
from ..semantic_focus.training.settings import TrainingSettings
from .inputs import Parsed, number, whole
from .paths import new_folder_name
from .sockets import (
    AdapterSocket,
    LatentMasksSocket,
    ObjectiveSocket,
    PreviewSocket,
    ScenesSocket,
    TimestepsSocket,
    TrainingOptionsSocket,
    TrainStateSocket,
)


def training_inputs(*without: str) -> list[io.Input]:
    """The inputs of LoRA Train Step, in its order.

    Args:
        without: names of those that are left out.
    """
    settings = TrainingSettings()
    inputs: list[io.Input] = [
        io.Model.Input("model"),
        io.Latent.Input("latents"),
        io.Conditioning.Input("conditioning", tooltip="One for all pictures, or one per picture."),
        LatentMasksSocket.Input("latent_masks"),
        ObjectiveSocket.Input("objective"),
        whole("steps", settings.steps, (1, 1_000_000), "With a train_state: so many more."),
        io.Int.Input("batch_size", default=settings.batch_size, min=1, max=256),
        io.Float.Input(
            "learning_rate", default=settings.learning_rate, min=1e-7, max=1.0, step=1e-6, round=1e-7
        ),
        io.Combo.Input("lr_schedule", options=list(RATE_SCHEDULES), default=settings.schedule),
        whole("rank", 16, (1, 1024), "Not used with Adapter Options."),
        number(
            "alpha",
            16.0,
            (0.01, 4096.0),
            0.5,
            "Scale is alpha / rank. Not used with Adapter Options.",
        ),
        io.Combo.Input("layers", options=list(LAYER_CHOICES), default=next(iter(LAYER_CHOICES))),
        io.Combo.Input(
            "timesteps",
            options=["logit_normal", "uniform", "shifted"],
            default=settings.timesteps.kind,
            tooltip="Which noise levels are trained most: the middle, all alike, or the noisy end. "
            "Not used with Timestep Options.",
        ),
        io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF),
        io.Boolean.Input(
            "gradient_checkpointing",
            default=True,
            tooltip="Much less memory for about a third more time.",
        ),
        Parsed(
            "run_name",
            new_folder_name,
            default="lora",
            optional=True,
            tooltip="Folder in output/semantic_focus with the states, curves and samples.",
        ),
        io.Int.Input(
            "save_every",
            default=100,
            min=0,
            max=100_000,
            optional=True,
            tooltip="Steps between two states on disk. 0: only when the training ends, in any way.",
        ),
        io.Boolean.Input(
            "resume",
            default=True,
            optional=True,
            tooltip="Go on with a stopped training of exactly these settings, pictures and model.",
        ),
        io.Combo.Input(
            "recipe",
            options=list(RECIPE_MODES),
            default="auto",
            optional=True,
            tooltip="auto: what still has a new node's value (steps, learning_rate, rank, alpha, "
            "layers, timesteps) is as it suits the model's family; the panel says which values. Flux "
            "dev is trained at guidance 1. off: everything is as the node has it.",
        ),
        io.Combo.Input(
            "memory",
            options=list(MEMORY_CHOICES),
            default=MEMORY_CHOICES[0],
            optional=True,
            tooltip="How much of the model waits in RAM and comes to the GPU block by block: less "
            "memory, more time, the same result. auto: as little as fits, by an estimate that the "
            "panel shows.",
        ),
        AdapterSocket.Input("adapter", optional=True),
        TimestepsSocket.Input("timestep_options", optional=True),
        TrainingOptionsSocket.Input("options", optional=True),
        PreviewSocket.Input("preview", optional=True),
        TrainStateSocket.Input(
            "train_state",
            optional=True,
            tooltip="Go on from where another LoRA Train Step ended; its seed, rank, alpha and "
            "layers are kept.",
        ),
        io.LoraModel.Input(
            "start_from", optional=True, tooltip="A LoRA to train on; its rank and layers are kept."
        ),
        io.LoraModel.Input(
            "training_adapter",
            optional=True,
            tooltip="For distilled (turbo) models: a LoRA that is active while training "
            "and absent from the result.",
        ),
        io.Conditioning.Input(
            "empty_prompt", optional=True, tooltip="For caption dropout: the encoded empty text."
        ),
        io.Int.Input(
            "repeats",
            min=0,
            max=10_000,
            optional=True,
            force_input=True,
            tooltip="A list: how often each picture comes in one pass over the dataset.",
        ),
        ScenesSocket.Input(
            "scenes", optional=True, tooltip="Scene Samples: what is not the subject stays as it is."
        ),
    ]
    return [one for one in inputs if one.id not in without]
