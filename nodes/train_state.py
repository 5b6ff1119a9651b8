"""The node that takes up a training from disk."""

from pathlib import Path

from comfy_api.latest import io

from ..semantic_focus.training.run_folder import RunFolder
from ..semantic_focus.training.state import TrainStateError, load_train_state
from .changes import ReadsFiles, note_files
from .paths import file_to_read, output_folder
from .sockets import CATEGORY, TrainStateSocket


class LoadTrainState(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusLoadTrainState",
            display_name="Load Train State",
            category=CATEGORY,
            description="A state that LoRA Train Step has kept, to go on from with other settings or more "
            "steps. (A stopped training with the same settings goes on by itself.)",
            inputs=[
                io.String.Input(
                    "path",
                    tooltip="A state file, or the folder of a run (its newest state). Relative paths start "
                    "in ComfyUI's output folder: semantic_focus/lora",
                )
            ],
            outputs=[
                TrainStateSocket.Output(display_name="train_state"),
                io.Int.Output(display_name="step"),
            ],
        )

    @classmethod
    def execute(cls, path) -> io.NodeOutput:
        place = _place(path)
        note_files(_states, place)
        if place.is_dir():
            run = RunFolder(place)
            state = run.newest_state()
            if state is None and run.has_states():
                raise TrainStateError(f"{place}: none of its states can be read; the log says why of each")
            if state is None:
                raise FileNotFoundError(
                    f"{place}: no training state in it. Give a folder of {place.parent}, or a state file"
                )
        else:
            state = load_train_state(place)
        return io.NodeOutput(state, state.step)


def _place(path: str) -> Path:
    return file_to_read("path", path, output_folder())


def _states(place: Path) -> list[Path]:
    return sorted(place.glob("state_*.safetensors")) if place.is_dir() else [place]


NODES = [LoadTrainState]
