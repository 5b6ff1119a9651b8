"""Over what the command "masks" spreads its work: processes of this machine, shards of several."""

import argparse
import os
from contextlib import AbstractContextManager, nullcontext

from ..datasets.bulk import Engine, in_this_process
from ..datasets.engines import on_ray
from ..datasets.engines.capacity import processes_for
from ..datasets.engines.processes import Processes
from ..datasets.shards import Shard, ShardError, parsed, told_by
from ..segmenters.table import LazySegmenter
from .outcome import CannotStartError

AUTO = "auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The part of the command line that says who does the work."""
    parser.add_argument(
        "--processes",
        type=_number_or_auto,
        metavar="N",
        help="processes that segment, each with one thread and, with --device cuda, a GPU of its own "
        "(default: 1, with ray auto; auto: as many as cores and memory, or GPUs, allow)",
    )
    parser.add_argument(
        "--engine",
        choices=("processes", "ray"),
        default="processes",
        help="where they run: on this machine (default), or as actors of a Ray cluster that sees the folder",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of a running Ray cluster (default: RAY_ADDRESS, else a Ray of its own on this machine)",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="only these pictures, of N machines that share the work: 1/N to N/N; auto: by the variables of "
        "Slurm or Kubernetes",
    )


def _number_or_auto(text: str) -> int | str:
    if text == AUTO:
        return AUTO
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of 1 or more nor auto")


def shard_of(options: argparse.Namespace) -> Shard | None:
    """The shard that is asked for; None when it is all."""
    if options.shard is None:
        return None
    try:
        return told_by(os.environ) if options.shard == AUTO else parsed(options.shard)
    except ShardError as error:
        raise CannotStartError(f"--shard {options.shard}: {error}") from error


def engine_of(options: argparse.Namespace, segmenter: LazySegmenter) -> AbstractContextManager[Engine]:
    """Who makes the masks; nothing is started yet."""
    if options.engine == "ray":
        if reason := on_ray.missing():
            raise CannotStartError(f"--engine ray: {reason}")
        return on_ray.Ray(None if options.processes == AUTO else options.processes, options.address)
    if options.address:
        raise CannotStartError(f"--address {options.address}: it is for --engine ray, which is not given")
    count = options.processes or 1
    if count == AUTO:
        count = processes_for(segmenter.backend.tier, options.device)
    return nullcontext(in_this_process) if count == 1 else Processes(count)
