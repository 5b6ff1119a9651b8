"""The command "work": the jobs of a folder, one after the other; the model that they share is loaded once."""

import argparse
import math
from pathlib import Path

from ..jobs.inputs import Inputs
from ..jobs.spool import STALE, Spool
from .config import Programs, add_comfyui_argument, add_packs_argument
from .events import add_events_argument, events_to
from .outcome import CannotStartError

HELP = (
    "Do the jobs that are put into a folder, one after the other, and keep the model loaded that they share. "
    "Any number of workers on any machines may share the folder: each job is done by one of them. Ctrl+C and "
    "SIGTERM give the present job back with its state."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "work"."""
    parser.set_defaults(command_function=run)
    parser.add_argument(
        "--spool", type=Path, required=True, metavar="DIR", help="folder of jobs: NAME.json, or NAME/job.json"
    )
    add_comfyui_argument(parser)
    parser.add_argument("--jobs", type=_count, metavar="N", help="end after so many (default: never)")
    parser.add_argument(
        "--idle",
        type=_seconds,
        default=math.inf,
        metavar="SECONDS",
        help="end when nothing has waited for so long (default: never)",
    )
    parser.add_argument(
        "--once", dest="idle", action="store_const", const=0.0, help="end as soon as nothing waits"
    )
    parser.add_argument(
        "--stale",
        type=_seconds,
        default=STALE,
        metavar="SECONDS",
        help="after which a worker that does not touch its job is taken for dead, and another does it; the "
        f"same for all workers of a folder (default: {STALE:g})",
    )
    add_events_argument(parser)
    add_packs_argument(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}": give a number of jobs, 1 or more')
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}": give seconds, 0 or more')
    return value


def run(options: argparse.Namespace) -> int:
    """The exit code: 0 no job has failed, 1 one has, 128 + n stopped by signal n."""
    from .jobs.worker import Worker
    from .stop_signals import StopSignals

    if not options.spool.is_dir():
        raise CannotStartError(f"--spool {options.spool}: no such folder. Make it, or correct the path")
    spool = Spool(options.spool, options.stale)
    try:
        with events_to(options.events) as events, Inputs() as inputs, StopSignals() as signals:
            return Worker(Programs.of(options), spool, events, inputs, signals).work(
                options.jobs, options.idle
            )
    finally:
        spool.close()
