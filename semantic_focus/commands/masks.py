"""The command "masks": the mask files of a whole dataset."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from ..datasets import report as dataset_report
from ..datasets.bulk import cache_pictures
from ..datasets.bulk_work import BY_HAND
from ..datasets.contents import PictureList
from ..datasets.folder import list_pictures
from ..datasets.remarks import by_hand_lines, remarks_on, said_before
from ..datasets.survey import DatasetSurvey
from ..datasets.survey import survey as survey_of
from ..regions.refine import REFINEMENTS
from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import BACKENDS, TIERS, LazySegmenter
from ..training.events import EventWriter
from . import in_tars, spreading
from .asking import check_report, request_of, segmenter_of, settings_of
from .events import STANDARD_OUTPUT, add_events_argument, events_to, this_process
from .jobs.codes import code_of
from .outcome import CANNOT_START, FAILED, SUCCESS, answer, say
from .told import Outcome, followed, for_machines, summary

HELP = (
    "Segment every picture of a folder and keep its masks beside it, as <name>_zi_masks.safetensors. "
    "Pictures whose mask file is up to date are left alone, so the command can be stopped and run again at "
    "any time. A summary goes to the screen, one JSON object to standard output."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "masks"."""
    parser.set_defaults(command_function=run)
    parser.add_argument(
        "dataset",
        type=in_tars.folder_or_url,
        metavar="DATASET",
        help="folder with the pictures; or the URL of tars of pictures, as s3://bucket/{000..999}.tar: each "
        "gets a tar of mask files",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tier", choices=TIERS, help="best segmenter of a tier (default: fast)")
    which.add_argument("--backend", choices=("auto", *BACKENDS), help="one segmenter, by name")
    parser.add_argument(
        "--models", type=Path, metavar="FOLDER", help="ComfyUI's models folder, with the segmenters' weights"
    )
    parser.add_argument(
        "--keywords", metavar="FILE_OR_TEXT", help="categories, as 'face: face, eyes; hair: hair' or a file"
    )
    parser.add_argument(
        "--refine",
        choices=REFINEMENTS,
        default="fast",
        help="work put into holes, specks and edges (default: fast)",
    )
    parser.add_argument(
        "--keep-overlaps", action="store_true", help="do not share pixels out between regions"
    )
    parser.add_argument("--float", action="store_true", help="16-bit masks instead of 8-bit PNG; larger")
    parser.add_argument("--recursive", action="store_true", help="the pictures of subfolders too")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done, and why")
    parser.add_argument("--force", action="store_true", help="segment again what is up to date")
    parser.add_argument(
        "--by-hand",
        choices=BY_HAND,
        default="keep",
        help="what becomes of regions that were changed by hand: keep them, whatever is segmented again "
        "(default), or forget them",
    )
    spreading.add_arguments(parser)
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        metavar="N",
        help="threads of each process that read and write files while it segments (default: 2)",
    )
    parser.add_argument(
        "--unpack",
        metavar="URL",
        help="make nothing: write the mask files of these tars beside the pictures of the folder",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="overview of the masks: .html page or .png contact sheet"
    )
    parser.add_argument(
        "--device", default="cpu", help="where networks run, as torch names it (default: cpu)"
    )
    add_events_argument(parser)


def run(options: argparse.Namespace) -> int:
    """The exit code."""
    with events_to(options.events) as events:
        code, told = make(options, events)
    if options.events != STANDARD_OUTPUT:
        answer(json.dumps(told))
    return code


def make(options: argparse.Namespace, events: EventWriter) -> tuple[int, dict[str, Any]]:
    """Make the masks; the exit code, and what there is to say to programs.

    Raises:
        CannotStartError, DatasetError, MissingWeightsError, SegmenterLoadError, StoreError, OSError: nothing
            was made; the last event says so.
    """
    events.opened(dataset=str(options.dataset), **this_process())
    try:
        code, told = _made(options, events)
    except (ValueError, RuntimeError, OSError) as error:
        events.stopped(str(error), code_of(error, CANNOT_START))
        raise
    if told.get("interrupted"):
        events.stopped(exit_code=code, reason="a signal")
    else:
        events.tell("done", **told, exit_code=code)
    return code, told


def _made(options: argparse.Namespace, events: EventWriter) -> tuple[int, dict[str, Any]]:
    if options.unpack is not None:
        return in_tars.unpack(options, events)
    if in_tars.is_meant(options):
        return in_tars.make(options, events)
    request, settings = request_of(options), settings_of(options)
    shard = spreading.shard_of(options)
    listed = list_pictures(options.dataset, options.recursive)
    pictures = shard.of(listed.pictures, listed.folder) if shard else listed.pictures
    check_report(options)
    segmenter = segmenter_of(options)
    if before := said_before(request, segmenter):
        say(*before)
    outcome = Outcome()
    with (
        followed(outcome, len(pictures), events) as follower,
        spreading.engine_of(options, segmenter) as engine,
    ):
        cache_pictures(pictures, request, segmenter, settings, follower.settled, follower.should_stop, engine)
    survey = _survey(listed, outcome, request, segmenter)
    reported = bool(options.report) and _write_report(options, outcome, survey)
    remarks = [*by_hand_lines(survey.entries), *survey.remarks]
    say(summary(outcome, options.dataset), *(f"  {remark}" for remark in remarks))
    told = for_machines(outcome, options.dataset, len(pictures), segmenter, options.dry_run)
    if shard:
        told["shard"] = str(shard)
    told["by_hand"] = [
        {"picture": str(entry.picture), "regions": list(entry.by_hand)}
        for entry in survey.entries
        if entry.by_hand
    ]
    told["remarks"] = list(survey.remarks)
    told["report"] = str(options.report) if reported else None
    if outcome.interrupted:
        return outcome.exit_code, told
    return FAILED if outcome.of("failed") or (options.report and not reported) else SUCCESS, told


def _survey(
    listed: PictureList, outcome: Outcome, request: SegmentRequest, segmenter: LazySegmenter
) -> DatasetSurvey:
    """What the mask files say, and what there is to say of the folder."""
    survey = survey_of(listed.folder, outcome.results)
    remarks = remarks_on(listed.left_out, survey.entries, request, segmenter)
    return dataclasses.replace(survey, remarks=remarks)


def _write_report(options: argparse.Namespace, outcome: Outcome, survey: DatasetSurvey) -> bool:
    """Whether it was written."""
    if outcome.interrupted:
        return False
    try:
        dataset_report.write(survey, options.report)
    except OSError as error:
        say(f"--report {options.report}: cannot be written ({error}). The mask files are not affected")
        return False
    return True
