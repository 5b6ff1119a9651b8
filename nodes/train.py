"""The training node."""

import dataclasses
from typing import Any

from comfy_api.latest import io

from ..semantic_focus.comfy.model import ComfyVelocityModel
from ..semantic_focus.comfy.training import RunPlace, TrainingResult, train_comfy_lora
from ..semantic_focus.training.curves import validation_columns
from ..semantic_focus.training.data import TrainingPictures
from ..semantic_focus.training.diagnostics import sigma_bins
from ..semantic_focus.training.run import RunOptions
from ..semantic_focus.training.step_record import StepRecord
from ..semantic_focus.training.summary import summary, summary_rows
from ..semantic_focus.training.untrained import untrained
from .changes import ReadsFiles, note_existence
from .paths import RUNS, output_folder
from .sockets import CATEGORY, TrainStateSocket
from .termination import termination_noted
from .train_elsewhere import train_elsewhere
from .train_inputs import training_inputs
from .train_progress import TrainingProgress
from .train_request import Asked, training_asked
from .training_status import watched_training

MOST_POINTS_KEPT = 2000
"""Points of each curve that ComfyUI keeps with the node's result."""


class LoraTrainStep(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusTrain",
            display_name="LoRA Train Step",
            category=CATEGORY,
            description="Train a LoRA with a weight per region. Any model that predicts velocity, eps or v. "
            "Its states are kept in output/semantic_focus; after a stop, press Run again to go on.",
            is_input_list=True,
            is_output_node=True,  # else ComfyUI does not send its curves again when it has the result already
            inputs=training_inputs(),
            outputs=[
                io.LoraModel.Output(
                    display_name="lora", tooltip="For core's Save LoRA Weights and Load LoRA Model."
                ),
                io.LossMap.Output(
                    display_name="loss_map",
                    tooltip="For core's Plot Loss Graph and our Semantic Loss Report.",
                ),
                io.Int.Output(display_name="trained_steps"),
                TrainStateSocket.Output(
                    display_name="train_state", tooltip="For another LoRA Train Step that goes on from here."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(cls, **given) -> io.NodeOutput:
        asked = training_asked(cls, given)
        place = RunPlace(output_folder(RUNS), asked.run_name, asked.resume)
        status = watched_training(
            asked.request.settings.steps, cls.hidden.unique_id, cls.hidden.extra_pnginfo
        )
        [plan, *_] = given.get("preview") or [None]
        progress = TrainingProgress(cls.hidden.unique_id, plan, status)
        for note in asked.notes:
            if asked.processes == 1 or note.kind != "no_guidance":  # which the processes say
                progress.say(note.kind, note.text, **note.values)
        if asked.processes > 1:
            with progress.watched():
                result = train_elsewhere(asked, place, progress, cls.hidden.prompt, cls.hidden.unique_id)
        else:
            result = _train_here(asked, place, progress)
        note_existence(result.folder)
        rows = summary_rows(result.history)
        status.finished([dataclasses.asdict(row) for row in rows], progress.is_worse)
        return io.NodeOutput(
            result.lora,
            loss_map(result.history),
            result.state.step,
            result.state,
            ui={
                "text": ("\n".join((summary(result.history, rows), *progress.remarks, str(result.folder))),),
                "semantic_focus_training": [status.report(most=MOST_POINTS_KEPT)],
            },
        )


def _train_here(asked: Asked, place: RunPlace, progress: TrainingProgress) -> TrainingResult:
    """The training in this process."""
    with termination_noted() as check_termination, progress.watched():

        def options_for(velocity: ComfyVelocityModel, data: TrainingPictures) -> RunOptions:
            for note in untrained(asked.request.objective, data):
                progress.say(note.kind, note.text, **note.values)
            return progress.options(velocity, data, asked.save_every, check_termination)

        return train_comfy_lora(asked.request, place, options_for, progress.say, progress.needs)


def loss_map(history: list[StepRecord]) -> dict[str, Any]:
    """Curves as core's LOSS_MAP ("loss", one number per step), with one curve per region beside it, and
    every region's errors by noise level; where something is held out, "validation" as
    `validation_columns` has it.
    """
    judged = [(record.step, record.validation) for record in history if record.validation is not None]
    names = history[0].regions if history else ()
    return {
        "loss": [record.total for record in history],
        "regions": {name: [record.regions[name] for record in history] for name in names},
        "prior": [record.prior for record in history],
        "learning_rate": [record.learning_rate for record in history],
        "gradient_share": {
            name: [record.gradient_share.get(name, 0.0) for record in history] for name in names
        },
        "sigma_bins": [dataclasses.asdict(item) for item in sigma_bins(history)],
        **({"validation": validation_columns(judged)} if judged else {}),
    }


NODES = [LoraTrainStep]
