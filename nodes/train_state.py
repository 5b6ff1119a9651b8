"""The node that takes up a training from disk."""

from pathlib import Path

from comfy_api.latest import io

from ..semantic_focus.training.run_folder import RunFolder
from ..semantic_focus.training.state import TrainStateError, load_train_state
from .paths import file_to_read, output_folder
from .sockets import CATEGORY, TrainStateSocket


class LoadTrainState(io.ComfyNode):
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
    def fingerprint_inputs(cls, path):
        if path is None:  # comes from another node: not known yet
            return float("nan")
        place = _place(path)
        states = sorted(place.glob("state_*.safetensors")) if place.is_dir() else [place]
        return str([(state.name, state.stat().st_mtime_ns) for state in states if state.is_file()])

    @classmethod
    def execute(cls, path) -> io.NodeOutput:
        place = _place(path)
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


NODES = [LoadTrainState]
