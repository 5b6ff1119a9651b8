"""The command "export": the masks of a dataset as mask pictures of other trainers."""

import argparse
from pathlib import Path

from ..datasets.folder import DatasetError, list_pictures
from ..datasets.interchange import export_masks, notes_on_exported
from ..datasets.mask_pictures import AS_STORED, FORMS, UPRIGHT
from ..datasets.remarks import left_out_lines
from ..keywords import parse_weights
from .outcome import SUCCESS, CannotStartError, say

HELP = (
    "Write the masks of a folder as mask pictures of other trainers: masklabel (OneTrainer), folder "
    "(sd-scripts, diffusion-pipe) or alpha (sd-scripts). White is trained, black is not."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "export"."""
    parser.set_defaults(command_function=run)
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder with the segmented pictures")
    parser.add_argument("--form", choices=FORMS, default="masklabel", help="default: masklabel")
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="where to write (default: beside the pictures)"
    )
    parser.add_argument(
        "--weights", default="face: 1", metavar="TEXT", help="as 'face: 1; hair: 0.5' (default: 'face: 1')"
    )
    parser.add_argument(
        "--fallback",
        type=float,
        default=0.0,
        metavar="N",
        help="weight of what no category covers (default: 0)",
    )
    turned = parser.add_mutually_exclusive_group()
    turned.add_argument(
        "--as-stored",
        dest="orientation",
        action="store_const",
        const=AS_STORED,
        help="form folder: turn the mask of a photograph that is stored turned (EXIF) as the photograph is "
        "stored: so sd-scripts and diffusion-pipe read it",
    )
    turned.add_argument(
        "--upright",
        dest="orientation",
        action="store_const",
        const=UPRIGHT,
        help="form folder: leave it upright, for a program that looks at the EXIF field",
    )
    parser.add_argument("--recursive", action="store_true", help="the pictures of subfolders too")


def run(options: argparse.Namespace) -> int:
    """The exit code."""
    try:
        weights = parse_weights(options.weights.replace(";", "\n"))
        listed = list_pictures(options.dataset, options.recursive)
        written = export_masks(
            listed.pictures, options.to, options.form, weights, options.fallback, options.orientation
        )
    except DatasetError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise CannotStartError(str(error)) from error
    say(
        f"{len(written)} mask pictures in {written[0].parent}",
        *notes_on_exported(written),
        *left_out_lines(listed.left_out),
    )
    return SUCCESS
