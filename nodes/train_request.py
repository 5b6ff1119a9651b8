"""The training that is asked for by the inputs of a node, see `train_inputs.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..semantic_focus.comfy.conditioning import conditioning_per_picture
from ..semantic_focus.comfy.family import recipe_of
from ..semantic_focus.comfy.fingerprint import looks_distilled
from ..semantic_focus.comfy.request import TrainingRequest
from ..semantic_focus.regions.masks import picture_names
from ..semantic_focus.settings.filling import Choice
from ..semantic_focus.training.memory import MEMORY_CHOICES, MemorySetting
from ..semantic_focus.training.scenes import Scenes
from ..semantic_focus.training.settings import TrainingSettings
from .graph import model_file
from .train_recipe import Note, adapter_settings, before_training, filled_by_recipe
from .training_options import ChosenOptions

DISTILLED = (
    "{} seems to be a distilled model: plain training takes its few-step ability away. Connect a training "
    "adapter, or Preview Options with few steps to watch for it"
)


@dataclass(frozen=True)
class Asked:
    """What a node's inputs ask for.

    Attributes:
        notes: what is to be said before the first step.
        run_name, save_every, resume: of its run.
        processes: that train together; 1: this one does.
        model_file: file name of the model; empty if it cannot be told.
    """

    request: TrainingRequest
    notes: tuple[Note, ...]
    run_name: str
    save_every: int
    resume: bool
    processes: int
    model_file: str


def training_asked(node: type[io.ComfyNode], given: Mapping[str, list[Any]]) -> Asked:
    """What is asked for, with the recipe of the model's family where it is wanted.

    Args:
        node: with hidden inputs; their optional ones have the defaults of its schema.
        given: a list for each input, as a node that takes lists has them.

    Raises:
        ValueError: inputs that do not fit each other.
    """
    lists = ("model", "latents", "conditioning", "latent_masks", "objective", "gradient_checkpointing")
    values = {
        name: value[0]
        for name, value in given.items()
        if name not in lists and value and value[0] is not None
    }
    [model, *_], latents = given["model"], given["latents"]
    name = model_file(node.hidden.prompt, node.hidden.unique_id)
    recipe, defaults = recipe_of(model, name), _defaults(node)
    pictures = sum(len(latent["samples"]) for latent in latents)
    filled = filled_by_recipe(values, defaults, recipe, pictures)
    scenes: Scenes | None = values.get("scenes")
    options: ChosenOptions = values.get("options", ChosenOptions())
    request = TrainingRequest(
        patcher=model,
        latents=[latent["samples"] for latent in latents],
        conditionings=[
            *conditioning_per_picture(given["conditioning"], pictures),
            *(scenes.conditionings if scenes else ()),
        ],
        masks=given["latent_masks"],
        objective=given["objective"][0],
        settings=_settings(values, filled.choice),
        adapter=adapter_settings(values, filled.choice),
        layers=filled.choice.layers,
        gradient_checkpointing=given["gradient_checkpointing"][0],
        start_from=values.get("start_from"),
        unconditional=values.get("empty_prompt"),
        training_adapter=values.get("training_adapter"),
        repeats=tuple(given.get("repeats") or ()),
        state=values.get("train_state"),
        model_name=Path(name).stem,
        names=picture_names(given["latent_masks"]),
        memory=MemorySetting.of(values.get("memory", MEMORY_CHOICES[0])),
        validation=options.validation,
        scenes=scenes,
    )
    request, notes = before_training(request, recipe, filled, values, defaults)
    if looks_distilled(name) and request.training_adapter is None and values.get("preview") is None:
        notes.append(Note("distilled", DISTILLED.format(name), {"model": name}))
    return Asked(
        request,
        tuple(notes),
        values.get("run_name", "lora"),
        values.get("save_every", 100),
        values.get("resume", True),
        options.processes,
        name,
    )


def _defaults(node: type[io.ComfyNode]) -> dict[str, Any]:
    """What a new node has in its widgets, by input."""
    return {it.id: getattr(it, "default", None) for it in node.define_schema().inputs}


def _settings(values: dict[str, Any], choice: Choice) -> TrainingSettings:
    """From the node's inputs, the optional ones as far as they are connected, and the recipe."""
    state = values.get("train_state")
    return TrainingSettings(
        steps=choice.steps + (state.step if state else 0),
        batch_size=values["batch_size"],
        learning_rate=choice.learning_rate,
        schedule=values["lr_schedule"],
        seed=values["seed"],
        timesteps=values.get("timestep_options") or choice.timesteps,
        **values.get("options", {}),
    )
