"""Over what the command "masks" spreads its work: processes of this machine, shards of several."""

import argparse
from contextlib import AbstractContextManager, nullcontext

from ..datasets.bulk import Engine, in_this_process
from ..datasets.engines.capacity import processes_for
from ..datasets.engines.processes import Processes
from ..segmenters.table import LazySegmenter

AUTO = "auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The part of the command line that says who does the work."""
    parser.add_argument(
        "--processes",
        type=_number_or_auto,
        default=1,
        metavar="N",
        help="processes that segment, each with one thread and, with --device cuda, a GPU of its own "
        "(default: 1; auto: as many as cores and memory, or GPUs, allow)",
    )


def _number_or_auto(text: str) -> int | str:
    if text == AUTO:
        return AUTO
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of 1 or more nor auto")


def engine_of(options: argparse.Namespace, segmenter: LazySegmenter) -> AbstractContextManager[Engine]:
    """Who makes the masks; nothing is started yet."""
    count = options.processes
    if count == AUTO:
        count = processes_for(segmenter.backend.tier, options.device)
    return nullcontext(in_this_process) if count == 1 else Processes(count)
