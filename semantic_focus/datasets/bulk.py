"""Mask files for a whole dataset: what is there is checked by header, the rest is segmented.

A run may be killed at any moment, run again, and run twice at once: every mask file is complete or absent,
and claims (see `claims.py`) keep two programs from doing the same work.
"""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..files.writing import TEMPORARY, mark_of
from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import LazySegmenter
from . import claims
from .bulk_work import CacheSettings
from .engines.order import Order
from .engines.pipeline import Pipeline
from .engines.plan import Plan
from .folder import sharing
from .freshness import PictureResult
from .mask_file import mask_path

log = logging.getLogger("semantic_focus.datasets.bulk")

Engine = Callable[[Plan], None]
"""Has all pictures of a plan segmented."""


def in_this_process(plan: Plan) -> None:
    """The engine that needs nothing else."""
    Pipeline(plan.order, plan).run()


def cache_pictures(
    pictures: Sequence[Path],
    request: SegmentRequest,
    segmenter: LazySegmenter,
    settings: CacheSettings | None = None,
    on_result: Callable[[PictureResult], None] = lambda result: None,
    should_stop: Callable[[], bool] = lambda: False,
    engine: Engine = in_this_process,
) -> list[PictureResult]:
    """Bring the mask files of all pictures up to date.

    One bad picture does not stop the others, a full disk does. Whatever ends a run, mask files are complete
    or absent; a KeyboardInterrupt is raised again when the files under way are written.

    Args:
        pictures: no two of one stem in a folder.
        segmenter: loaded only if some picture has no fresh mask file.
        on_result: told of each picture once, from the calling thread.
        should_stop: asked before each picture; the pictures under way are finished, the others left.
        engine: who does the work.

    Returns:
        One result per picture, in the order in which they were settled: mask files are looked at while others
        are made, those of a dry run in the order of the pictures.

    Raises:
        ValueError: two pictures share a mask file.
        DatasetError: no mask file can be written there; nothing was segmented.
        MissingWeightsError, SegmenterLoadError: a picture needs the segmenter, and it cannot be loaded.
    """
    _refuse_shared_files(pictures)
    plan = Plan(pictures, Order(request, segmenter, settings or CacheSettings()), on_result, should_stop)
    if plan.order.settings.dry_run:
        plan.look_at_all()
        return plan.results
    folders = {Path(folder) for folder in set(map(os.path.dirname, pictures))}
    _remove_leftovers(pictures, folders)
    try:
        engine(plan)
        plan.finish()
    finally:
        _remove_leftovers(pictures, folders)  # another program, or a worker, may have been killed meanwhile
        for folder in folders:
            claims.remove_unused_lock_file(folder)
    return plan.results


def _refuse_shared_files(pictures: Sequence[Path]) -> None:
    for other, picture in sharing(pictures):
        raise ValueError(f"{other} and {picture.name} would share one mask file: rename one of them")


def _remove_leftovers(pictures: Sequence[Path], folders: Iterable[Path]) -> None:
    """Remove what killed runs left of the pictures' mask files, unless somebody is at work on them."""
    found: dict[Path, list[str]] = {}
    for folder in folders:
        if names := _temporary_files(folder):
            found[folder] = names
    if not found:
        return
    ours: dict[Path, dict[str, Path]] = {}
    for path in map(mask_path, pictures):
        ours.setdefault(path.parent, {}).update({mark_of(path.name): path, path.name: path})
    for folder, names in found.items():
        for name in names:
            named = TEMPORARY.fullmatch(name)
            if named is None or (mask_file := ours[folder].get(named["mark"])) is None:
                continue
            turn = claims.turn_of(mask_file)
            with claims.claimed_if_free(mask_file) as claimed, claims.claimed_if_free(turn) as nobody:
                if claimed and nobody:
                    _remove(folder / name)


def _temporary_files(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.startswith(".") and TEMPORARY.fullmatch(name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: a leftover of a killed run cannot be removed (%s). Delete it", path, error)
