"""The command line.

semantic-focus masks DATASET      make the mask files of a dataset
semantic-focus export DATASET     write them as the mask pictures of other trainers
semantic-focus train CONFIG       train a LoRA without a graph
semantic-focus run JOB            do a job: what train or masks does, once, as a file says
semantic-focus work --spool DIR   do the jobs of a folder, one after the other
semantic-focus plan CONFIG        tell how much memory that takes
semantic-focus fetch NAME         fetch the weights of a segmenter
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .outcome import CANNOT_START, EXIT_CODES, INTERRUPTED, CannotStartError, say

COMMANDS = ("masks", "export", "train", "run", "work", "plan", "fetch")
"""Each is a file of this folder, which is imported when it is needed."""


def main(arguments: Sequence[str] | None = None, program: str = "semantic-focus") -> int:
    """Run the program with these arguments (default: those of the process).

    Returns:
        the exit code, see `EXIT_CODES`.
    """
    arguments = [*(sys.argv[1:] if arguments is None else arguments)]
    asked = [name for name in COMMANDS if arguments[:1] == [name]]
    parser = argparse.ArgumentParser(program, description="Train LoRAs region by region.", epilog=EXIT_CODES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in asked or COMMANDS:
        command = _command(name)
        command.add_arguments(
            commands.add_parser(name, help=command.HELP, description=command.HELP, epilog=EXIT_CODES)
        )
    return _guarded(parser.parse_args(arguments))


def _command(name: str) -> Any:
    return import_module(f".{name}", __package__)


def cache_masks(arguments: Sequence[str] | None = None, program: str = "cache_masks.py") -> int:
    """`main` of the program that only knows the command "masks"."""
    masks = _command("masks")
    parser = argparse.ArgumentParser(program, description=masks.HELP, epilog=EXIT_CODES)
    masks.add_arguments(parser)
    return _guarded(parser.parse_args(arguments))


def _guarded(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return options.command_function(options)
    except CannotStartError as error:
        say(str(error))
        return CANNOT_START
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, _in_words()):
            say(str(error))
        elif isinstance(error, OSError):
            say(f"{getattr(options, 'dataset', 'a file')}: cannot be read or written ({error})")
        else:
            raise
        return CANNOT_START
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED


def _in_words() -> tuple[type[Exception], ...]:
    """Errors that say what to change; whoever raised one has imported it."""
    from ..datasets.engines.order import SegmenterLoadError
    from ..datasets.folder import DatasetError
    from ..datasets.tars.store import StoreError
    from ..segmenters.protocol import MissingWeightsError

    return DatasetError, MissingWeightsError, SegmenterLoadError, StoreError


if __name__ == "__main__":
    sys.exit(main())
