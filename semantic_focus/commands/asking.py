"""What the arguments of the command "masks" ask for; CannotStartError where that cannot be."""

import argparse
import dataclasses
import os
from pathlib import Path

from ..datasets import report as dataset_report
from ..datasets.bulk_work import CacheSettings
from ..keywords import parse_keywords
from ..segmenters.protocol import SegmentRequest
from ..segmenters.runtimes import taken_on_trust
from ..segmenters.table import WEIGHT_KINDS, LazySegmenter
from .outcome import CannotStartError


def request_of(options: argparse.Namespace) -> SegmentRequest:
    """What to find in the pictures."""
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


def settings_of(options: argparse.Namespace) -> CacheSettings:
    """How files are read and written."""
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


def segmenter_of(options: argparse.Namespace) -> LazySegmenter:
    """Who finds it; its weights are there, as far as can be told without loading them."""
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


def check_report(options: argparse.Namespace) -> None:
    """Whether the report can be written where it is to be."""
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
