"""The node that saves a training in place of running it."""

from pathlib import Path

from comfy_api.latest import io

from ..semantic_focus.comfy.job import write_job
from ..semantic_focus.comfy.model_source import model_settings, train_command
from ..semantic_focus.files.command_lines import INDENT, line
from ..semantic_focus.files.text import printable
from ..semantic_focus.files.writing import make_folder, write_new_folder
from ..semantic_focus.jobs.writing import write_training_job
from ..semantic_focus.settings.training import RunPlan
from ..semantic_focus.training.run_folder import run_folders
from .changes import ReadsFiles, note_existence
from .paths import RUNS, output_folder
from .sockets import CATEGORY
from .train_inputs import training_inputs
from .train_request import training_asked

JOBS = "jobs"
"""Folder of the jobs, below that of the runs."""


class SaveTrainingJob(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusSaveJob",
            display_name="Save Training Job",
            category=CATEGORY,
            description="Save the training that LoRA Train Step would run as a folder with all it needs. "
            "Run it in a shell, on several GPUs or on another machine: the LoRA is the same.",
            is_input_list=True,
            is_output_node=True,
            inputs=training_inputs("resume", "preview"),
            outputs=[io.String.Output(display_name="path", tooltip="The folder of the job.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def execute(cls, **given) -> io.NodeOutput:
        asked = training_asked(cls, given)
        root = output_folder(RUNS, JOBS)
        make_folder(root.parent)
        make_folder(root)

        def fill(folder: Path) -> None:
            model = model_settings(cls.hidden.prompt, cls.hidden.unique_id, folder, asked.model_file)
            run = RunPlan(name=asked.run_name, save_every=asked.save_every)
            write_training_job(write_job(folder, asked.request, model, run))

        folder = write_new_folder(run_folders(root.resolve(), asked.run_name), fill)
        note_existence(folder)
        processes = ("--processes", asked.processes) if asked.processes > 1 else ()
        command = train_command(folder / "config.toml", *processes)
        said = [str(folder), "Run it with" + INDENT + line(*command), *(note.text for note in asked.notes)]
        return io.NodeOutput(str(folder), ui={"text": (printable("\n".join(said)),)})


NODES = [SaveTrainingJob]
