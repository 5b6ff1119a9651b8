"""Which adapters are trained, from which file a training goes on, and files for other programs."""

from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..semantic_focus.comfy.fingerprint import model_fingerprint
from ..semantic_focus.comfy.key_map import comfy_key_map
from ..semantic_focus.comfy.lora_files import read_for_model
from ..semantic_focus.lora.adapters import ADAPTER_KINDS, AdapterSettings
from ..semantic_focus.lora.file import SAFETENSORS, load_lora, save_new_lora
from ..semantic_focus.lora.keys import KEY_STYLES, export_lora, generic_tensors
from ..semantic_focus.lora.metadata import Provenance, lora_metadata
from ..semantic_focus.training.run import provenance_of
from ..semantic_focus.training.state import TrainState
from .changes import ReadsFiles, note_existence, note_file
from .graph import model_file
from .inputs import Parsed, number, whole
from .paths import RUNS, new_output_files, output_folder, output_prefix
from .sockets import CATEGORY, AdapterSocket, TrainStateSocket

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class AdapterOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        settings = AdapterSettings()
        return io.Schema(
            node_id="SemanticFocusAdapterOptions",
            display_name="Adapter Options",
            category=CATEGORY,
            description="What LoRA Train Step trains: the kind of adapter, its size, and on which layers.",
            inputs=[
                io.Combo.Input(
                    "kind",
                    options=list(ADAPTER_KINDS),
                    default=settings.kind,
                    tooltip="lora loads everywhere; loha is slower and says more for its size; lokr is small",
                ),
                io.Int.Input("rank", default=settings.rank, min=1, max=1024),
                number("alpha", settings.alpha, (0.01, 4096.0), 0.5, "Scale is alpha / rank."),
                number(
                    "dropout",
                    settings.dropout,
                    (0.0, 0.9),
                    0.05,
                    "Share of the adapter that is left out in each step, against learning by heart.",
                ),
                whole(
                    "factor",
                    settings.factor,
                    (1, 128),
                    "lokr only: size of its first part. Larger: smaller files, less expressive.",
                ),
                io.String.Input(
                    "include",
                    default="",
                    multiline=True,
                    tooltip="Layers to train in place of the choice 'layers', by parts of their names, one a "
                    "line; * is anything, ? one character, re: begins a regular expression.",
                ),
                io.String.Input(
                    "exclude",
                    default="",
                    multiline=True,
                    tooltip="Layers to leave alone, as in include.",
                ),
            ],
            outputs=[AdapterSocket.Output(display_name="adapter")],
        )

    @classmethod
    def execute(cls, include, exclude, **values) -> io.NodeOutput:
        return io.NodeOutput(AdapterSettings(include=_lines(include), exclude=_lines(exclude), **values))


class LoadLoraFile(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusLoadLoRA",
            display_name="Load LoRA File",
            category=CATEGORY,
            description="A LoRA, LoHa or LoKr of any key style, to train on or to save in another style.",
            inputs=[
                io.Combo.Input(
                    "lora_name",
                    options=[*folder_paths.get_filename_list("loras"), *_run_loras()],
                    tooltip="Of the folder loras, and what trainings keep in output/semantic_focus. "
                    "R makes the list anew.",
                )
            ],
            outputs=[io.LoraModel.Output(display_name="lora"), io.String.Output(display_name="name")],
        )

    @classmethod
    def execute(cls, lora_name) -> io.NodeOutput:
        path = _lora_path(lora_name)
        note_file(path)
        of_a_run = lora_name.startswith(f"{RUNS}/")
        return io.NodeOutput(load_lora(path), f"{path.parent.name}_{path.stem}" if of_a_run else path.stem)


def _run_loras() -> list[str]:
    """The LoRAs that trainings kept, by their places below ComfyUI's output folder; later steps first."""
    output = output_folder()
    found = sorted((output / RUNS).glob("*/lora_*.safetensors"), key=lambda path: path.name, reverse=True)
    found.sort(key=lambda path: path.parent.name)
    return [path.relative_to(output).as_posix() for path in found]


def _lora_path(name: str) -> Path:
    """Where a LoRA of the list is.

    Raises:
        FileNotFoundError: it is not there any more.
    """
    if name in _run_loras():
        return output_folder(name)
    return Path(folder_paths.get_full_path_or_raise("loras", name))


class SaveLoraAs(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusSaveLoRA",
            display_name="Save LoRA As",
            category=CATEGORY,
            description="Save a LoRA for ComfyUI, kohya's tools or diffusers. It does the same in each.",
            is_output_node=True,
            inputs=[
                io.LoraModel.Input("lora"),
                io.Model.Input("model", tooltip="The base model: its layers have other names elsewhere."),
                Parsed("filename_prefix", output_prefix, default="loras/semantic_focus"),
                io.Combo.Input(
                    "key_style",
                    options=list(KEY_STYLES),
                    default="comfyui",
                    tooltip="; ".join(f"{style}: {meaning}" for style, meaning in KEY_STYLES.items()),
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="fp32",
                    optional=True,
                    tooltip="fp32 is what was trained; bf16 and fp16 are half as large.",
                ),
                TrainStateSocket.Input(
                    "train_state", optional=True, tooltip="Writes into the file how it was trained."
                ),
            ],
            outputs=[io.String.Output(display_name="path")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls, lora, model, filename_prefix, key_style, dtype="fp32", train_state=None
    ) -> io.NodeOutput:
        places = new_output_files("filename_prefix", filename_prefix, SAFETENSORS)
        read = read_for_model(model, lora)
        generic = generic_tensors(read.adapters)
        exported = export_lora(generic, key_style, comfy_key_map(model), DTYPES[dtype], read.fixed)
        name = Path(model_file(cls.hidden.prompt, cls.hidden.unique_id)).stem
        metadata = lora_metadata(generic, key_style, _provenance(train_state, model, name))
        path = save_new_lora(places, exported, metadata)
        note_existence(path)
        return io.NodeOutput(
            str(path), ui=ui.PreviewText("\n".join(filter(None, (str(path), read.kept_as_it_is))))
        )


def _provenance(state: TrainState | None, model: Any, name: str) -> Provenance:
    if state is None:
        return Provenance(base_model=model_fingerprint(model), base_model_name=name)
    return provenance_of(state.identity, state.step, name)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


NODES = [AdapterOptions, LoadLoraFile, SaveLoraAs]
