"""The command "fetch": the weights of segmenters. Nothing else downloads."""

import argparse
from pathlib import Path

from ..files.command_lines import to_have_pip
from ..segmenters.embedded import weights
from ..segmenters.model_files import MODELS, download
from .outcome import FAILED, SUCCESS, CannotStartError, say

HELP = "Fetch the weights of a segmenter."
EMBEDDED = "mediapipe"
"""The embedded segmenter, whose weights have a place of their own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "fetch"."""
    names = (EMBEDDED, *MODELS)
    parser.set_defaults(command_function=run)
    parser.add_argument("name", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help=f"where to put them; for {EMBEDDED} it may be left out"
    )


def run(options: argparse.Namespace) -> int:
    """The exit code."""
    if options.name != EMBEDDED:
        if options.to is None:
            raise CannotStartError(f"fetch {options.name}: give the folder for it with --to FOLDER")
        model = MODELS[options.name]
        say(f"{options.name}, {model.size}, licence: {model.licence}")
    try:
        place = weights.fetch(options.to) if options.name == EMBEDDED else download(options.name, options.to)
    except (ValueError, RuntimeError, OSError) as error:
        pip = to_have_pip() if options.name == EMBEDDED else ""
        say(f"{error}\nThis Python has no pip, which fetches them. To have it:{pip}" if pip else str(error))
        return FAILED
    say(f"it is in {place}")
    return SUCCESS
