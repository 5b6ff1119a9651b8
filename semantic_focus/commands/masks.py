"""The command "masks": the mask files of a whole dataset."""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..datasets import report as dataset_report
from ..datasets.bulk import cache_pictures
from ..datasets.bulk_work import BY_HAND, CacheSettings
from ..datasets.contents import PictureList
from ..datasets.folder import list_pictures
from ..datasets.freshness import STATUSES, PictureResult
from ..datasets.remarks import by_hand_lines, remarks_on, said_before
from ..datasets.survey import DatasetSurvey
from ..datasets.survey import survey as survey_of
from ..keywords import parse_keywords
from ..regions.refine import REFINEMENTS
from ..segmenters.protocol import SegmentRequest
from ..segmenters.runtimes import taken_on_trust
from ..segmenters.table import BACKENDS, TIERS, WEIGHT_KINDS, LazySegmenter
from .outcome import FAILED, SUCCESS, CannotStartError, Screen, answer, say
from .stop_signals import StopSignals

HELP = (
    "Segment every picture of a folder and keep its masks beside it, as <name>_zi_masks.safetensors. "
    "Pictures whose mask file is up to date are left alone, so the command can be stopped and run again at "
    "any time. A summary goes to the screen, one JSON object to standard output."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "masks"."""
    parser.set_defaults(command_function=run)
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder with the pictures")
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
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="threads to read and write files")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="overview of the masks: .html page or .png contact sheet"
    )
    parser.add_argument(
        "--device", default="cpu", help="where networks run, as torch names it (default: cpu)"
    )


@dataclass
class _Outcome:
    """What came of a run so far, how long it took, and its exit code if a signal stopped it."""

    results: list[PictureResult] = field(default_factory=list)
    seconds: float = 0.0
    exit_code: int = SUCCESS

    @property
    def interrupted(self) -> bool:
        return self.exit_code != SUCCESS

    def of(self, status: str) -> list[PictureResult]:
        return [result for result in self.results if result.status == status]


def run(options: argparse.Namespace) -> int:
    """The exit code."""
    request, settings = _request(options), _settings(options)
    listed = list_pictures(options.dataset, options.recursive)
    _check_report(options)
    segmenter = _segmenter(options)
    if before := said_before(request, segmenter):
        say(*before)
    outcome = _cached(listed.pictures, request, segmenter, settings)
    survey = _survey(listed, outcome, request, segmenter)
    reported = bool(options.report) and _write_report(options, outcome, survey)
    remarks = [*by_hand_lines(survey.entries), *survey.remarks]
    say(_summary(outcome, options.dataset), *(f"  {remark}" for remark in remarks))
    summary = _for_machines(outcome, len(listed.pictures), segmenter, options)
    summary["by_hand"] = [
        {"picture": str(entry.picture), "regions": list(entry.by_hand)}
        for entry in survey.entries
        if entry.by_hand
    ]
    summary["remarks"] = list(survey.remarks)
    summary["report"] = str(options.report) if reported else None
    answer(json.dumps(summary))
    if outcome.interrupted:
        return outcome.exit_code
    return FAILED if outcome.of("failed") or (options.report and not reported) else SUCCESS


def _survey(
    listed: PictureList, outcome: _Outcome, request: SegmentRequest, segmenter: LazySegmenter
) -> DatasetSurvey:
    """What the mask files say, and what there is to say of the folder."""
    survey = survey_of(listed.folder, outcome.results)
    remarks = remarks_on(listed.left_out, survey.entries, request, segmenter)
    return dataclasses.replace(survey, remarks=remarks)


def _write_report(options: argparse.Namespace, outcome: _Outcome, survey: DatasetSurvey) -> bool:
    """Whether it was written."""
    if outcome.interrupted:
        return False
    try:
        dataset_report.write(survey, options.report)
    except OSError as error:
        say(f"--report {options.report}: cannot be written ({error}). The mask files are not affected")
        return False
    return True


def _request(options: argparse.Namespace) -> SegmentRequest:
    request = SegmentRequest(refine=options.refine, keep_overlaps=options.keep_overlaps)
    if options.keywords is None:
        return request
    try:
        return dataclasses.replace(request, prompts=parse_keywords(_keywords_text(options.keywords)))
    except (OSError, ValueError, RuntimeError) as error:
        raise CannotStartError(
            f"--keywords {options.keywords!r}: {error}. Give a text file with one 'name: word, word' per "
            "line, or such lines with ';' between them"
        ) from error


def _keywords_text(file_or_text: str) -> str:
    try:
        is_file = Path(file_or_text).expanduser().is_file()
    except (OSError, RuntimeError):  # longer than any file name, or the home of nobody
        is_file = False
    if is_file or ":" not in file_or_text:
        return Path(file_or_text).expanduser().read_text(encoding="utf-8-sig")
    return file_or_text.replace(";", "\n")


def _settings(options: argparse.Namespace) -> CacheSettings:
    try:
        return CacheSettings(
            options.force,
            options.dry_run,
            options.workers,
            "float" if options.float else "png",
            options.by_hand,
        )
    except ValueError as error:
        raise CannotStartError(f"--workers {options.workers}: {error}") from error


def _check_report(options: argparse.Namespace) -> None:
    path: Path | None = options.report
    if path is None:
        return
    if path.suffix.lower() not in dataset_report.SUFFIXES:
        raise CannotStartError(
            f"--report {path}: a report is one of {', '.join(dataset_report.SUFFIXES)}. "
            "Change the file's ending"
        )
    inside = path.resolve().parent.is_relative_to(options.dataset.expanduser().resolve())
    if inside and path.suffix.lower() == ".png":
        raise CannotStartError(
            f"--report {path}: in the dataset folder it would be taken for a training picture. "
            "Put it elsewhere"
        )
    if not path.parent.is_dir():
        raise CannotStartError(
            f"--report {path}: there is no folder {path.parent}. Make it first, or correct the path"
        )
    if os.path.lexists(path) and not dataset_report.is_report(path):
        raise CannotStartError(
            f"--report {path}: what is there is no report of this program. Give another name"
        )


def _segmenter(options: argparse.Namespace) -> LazySegmenter:
    folders = {}
    if options.models is not None:
        models = options.models.expanduser()
        if not models.is_dir():
            raise CannotStartError(f"--models {models}: no such folder. Give ComfyUI's models folder")
        folders = {kind: [models / kind] for kind in WEIGHT_KINDS}
    segmenter = LazySegmenter(options.backend or options.tier or "fast", folders, options.device)
    with taken_on_trust():  # whether it works shows when it is needed: fresh masks need none of it
        reason = segmenter.missing()
    if reason is not None:
        hint = (
            ""
            if options.models
            else "\nGive ComfyUI's models folder with --models, if the weights are there."
        )
        raise CannotStartError(reason + hint)
    return segmenter


def _cached(
    pictures: Sequence[Path], request: SegmentRequest, segmenter: LazySegmenter, settings: CacheSettings
) -> _Outcome:
    outcome = _Outcome()
    started = time.monotonic()
    screen: Any = Screen()
    seconds = 0.1 if sys.stderr.isatty() else 30.0
    with tqdm(total=len(pictures), unit=" pictures", file=screen, mininterval=seconds) as bar:

        def settled(result: PictureResult) -> None:
            outcome.results.append(result)
            if result.status == "fresh":  # costs next to nothing: it would spoil rate and time left
                bar.initial += 1
                bar.n += 1
            else:
                bar.update()
            if result.status in ("failed", "kept"):
                with bar.external_write_mode(file=screen):
                    say(f"{result.status}: {_with_name(result)}")
            if result.said:
                with bar.external_write_mode(file=screen):
                    say(f"{result.picture}: {result.said}")

        with StopSignals() as signals:
            cache_pictures(
                pictures, request, segmenter, settings, settled, lambda: signals.received is not None
            )
        outcome.exit_code = signals.exit_code
        outcome.seconds = time.monotonic() - started
    return outcome


def _with_name(result: PictureResult) -> str:
    """The reason, with the picture's name unless it says it already."""
    if result.picture.name in result.reason:
        return result.reason
    return f"{result.picture}: {result.reason}"


def _summary(outcome: _Outcome, dataset: Path) -> str:
    counts = Counter(result.status for result in outcome.results)
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    lines = [f"{dataset}: {', '.join(parts) or 'nothing done'} in {outcome.seconds:.1f} s"]
    reasons = Counter(result.reason for result in outcome.of("due"))
    lines += [f"  due, {count}: {reason}" for reason, count in reasons.most_common(10)]
    if failed := outcome.of("failed"):
        lines.append("failed:")
        lines += [f"  {_with_name(result)}" for result in failed]
    if outcome.interrupted:
        lines.append("interrupted: what is done stays; run the same command again for the rest")
    return "\n".join(lines)


def _for_machines(
    outcome: _Outcome, pictures: int, segmenter: LazySegmenter, options: argparse.Namespace
) -> dict[str, object]:
    def listed(status: str) -> list[dict[str, str]]:
        return [{"picture": str(result.picture), "reason": result.reason} for result in outcome.of(status)]

    rate = len(outcome.results) / outcome.seconds if outcome.seconds else 0.0
    return {
        "dataset": str(options.dataset),
        "pictures": pictures,
        "counts": {status: len(outcome.of(status)) for status in STATUSES},
        **{status: listed(status) for status in ("failed", "kept", "due")},
        "backend": segmenter.name,
        "weights": segmenter.weights_id,
        "seconds": round(outcome.seconds, 3),
        "pictures_per_second": round(rate, 2),
        "dry_run": options.dry_run,
        "interrupted": outcome.interrupted,
    }
