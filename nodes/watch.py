"""The node that shows a training which runs elsewhere, by its run folder."""

from comfy_api.latest import io

from ..semantic_focus.training.run_folder import CURVES_FILE, RunFolder
from ..semantic_focus.training.watching import RunWatch, WatchError
from .changes import ReadsFiles, note_file
from .paths import file_to_read, output_folder
from .sockets import CATEGORY
from .train import loss_map


class WatchTraining(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusWatch",
            display_name="Watch Training",
            category=CATEGORY,
            description="Shows a training that runs elsewhere (a shell, Slurm, another ComfyUI) by the "
            "folder that it writes: curves, pace, samples, and how it ended. It need not be run.",
            inputs=[
                io.String.Input(
                    "folder",
                    tooltip="The folder of the run, with run.json and curves.jsonl in it; it need not be "
                    "there yet. Relative paths start in ComfyUI's output folder: semantic_focus/lora",
                )
            ],
            outputs=[
                io.LossMap.Output(
                    display_name="loss_map", tooltip="The curves so far, for Semantic Loss Report."
                )
            ],
        )

    @classmethod
    def execute(cls, folder) -> io.NodeOutput:
        place = file_to_read("folder", folder, output_folder())
        note_file(place / CURVES_FILE)
        RunWatch(place).report(seconds=0)
        history = RunFolder(place).curves()
        if not history:
            raise WatchError(f"{place}: no step in its {CURVES_FILE} yet. Run again when there is one")
        return io.NodeOutput(loss_map(history))


NODES = [WatchTraining]
