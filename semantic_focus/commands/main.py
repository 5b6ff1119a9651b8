"""The command line.

semantic-focus masks DATASET      make the mask files of a dataset
semantic-focus export DATASET     write them as the mask pictures of other trainers
semantic-focus train CONFIG       train a LoRA without a graph
semantic-focus plan CONFIG        tell how much memory that takes
semantic-focus fetch NAME         fetch the weights of a segmenter
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from ..datasets.engines.order import SegmenterLoadError
from ..datasets.folder import DatasetError
from ..datasets.tars.store import StoreError
from ..segmenters.protocol import MissingWeightsError
from . import export, fetch, masks, plan, train
from .outcome import CANNOT_START, EXIT_CODES, INTERRUPTED, CannotStartError, say

COMMANDS = {"masks": masks, "export": export, "train": train, "plan": plan, "fetch": fetch}


def main(arguments: Sequence[str] | None = None, program: str = "semantic-focus") -> int:
    """Run the program with these arguments (default: those of the process).

    Returns:
        the exit code, see `EXIT_CODES`.
    """
    parser = argparse.ArgumentParser(program, description="Train LoRAs region by region.", epilog=EXIT_CODES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add_arguments(
            commands.add_parser(name, help=command.HELP, description=command.HELP, epilog=EXIT_CODES)
        )
    return _guarded(parser.parse_args(arguments))


def cache_masks(arguments: Sequence[str] | None = None, program: str = "cache_masks.py") -> int:
    """`main` of the program that only knows the command "masks"."""
    parser = argparse.ArgumentParser(program, description=masks.HELP, epilog=EXIT_CODES)
    masks.add_arguments(parser)
    return _guarded(parser.parse_args(arguments))


def _guarded(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return options.command_function(options)
    except (CannotStartError, DatasetError, MissingWeightsError, SegmenterLoadError, StoreError) as error:
        say(str(error))
        return CANNOT_START
    except OSError as error:
        say(f"{options.dataset}: cannot be read or written ({error})")
        return CANNOT_START
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
