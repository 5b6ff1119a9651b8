"""The command "run": one job, as a file says. torch is imported only where there is something to do."""

import argparse
from pathlib import Path

from ..jobs.inputs import Inputs
from .config import Programs, add_comfyui_argument, add_packs_argument
from .counts import process_count
from .events import STANDARD_OUTPUT, add_events_argument, events_to
from .jobs.runner import JobRunner
from .outcome import answer

HELP = (
    "Do a job: train a LoRA, or make masks, as a file says that names inputs, outputs and settings. A job "
    "that is done already is left alone; one that was stopped or killed goes on. The path or URL of the LoRA "
    "goes to standard output, progress to the screen. Exit code 75: it may work later, or elsewhere."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "run"."""
    parser.set_defaults(command_function=run)
    parser.add_argument("job", type=Path, metavar="JOB", help="job.json, see docs/jobs.md")
    add_comfyui_argument(parser)
    parser.add_argument(
        "--processes",
        type=process_count,
        default=1,
        metavar="N",
        help="of a training: as many processes on this machine, one GPU each (default: 1)",
    )
    add_events_argument(parser)
    add_packs_argument(parser)


def run(options: argparse.Namespace) -> int:
    """The exit code: 0 done, 1 failed for good, 2 a job that cannot be done, 75 try later or elsewhere,
    128 + n stopped by signal n.
    """
    with events_to(options.events) as events, Inputs() as inputs:
        runner = JobRunner(Programs.of(options), events, inputs, options.processes)
        code = runner.do(options.job)
    if runner.result is not None and options.events != STANDARD_OUTPUT:
        answer(runner.result)
    return code
