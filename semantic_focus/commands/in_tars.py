"""The command "masks" for tars in a store that fsspec reaches."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from ..datasets.remarks import said_before
from ..datasets.tars.archive import MASK_TAR
from ..datasets.tars.run import Watcher, cache_tars
from ..datasets.tars.store import Store, is_url
from ..datasets.tars.unpacking import mask_tars, unpack_masks
from ..training.events import EventWriter
from . import spreading
from .asking import request_of, segmenter_of, settings_of
from .outcome import FAILED, SUCCESS, CannotStartError, say
from .told import Outcome, followed, for_machines, summary


def folder_or_url(text: str) -> Path | str:
    """What was given as a dataset."""
    return text if is_url(text) else Path(text)


def is_meant(options: argparse.Namespace) -> bool:
    """Whether a URL was given."""
    return isinstance(options.dataset, str)


def make(options: argparse.Namespace, events: EventWriter) -> tuple[int, dict[str, Any]]:
    """Make the tars of mask files; the exit code, and what there is to say to programs."""
    if options.report is not None:
        raise CannotStartError("--report: of tars none is made. Unpack the masks beside the pictures first")
    if options.engine == "ray":
        raise CannotStartError(
            "--engine ray: tars are unpacked on one machine, where others do not see them. Start this "
            "command on each of them, with --shard"
        )
    request, settings, shard = request_of(options), settings_of(options), spreading.shard_of(options)
    store = Store(options.dataset)
    tars = [tar for tar in store.tars((MASK_TAR,)) if shard is None or shard.takes(tar)]
    segmenter = segmenter_of(options)
    if before := said_before(request, segmenter):
        say(*before)
    outcome = Outcome()
    with followed(outcome, None, events) as follower, spreading.engine_of(options, segmenter) as engine:
        watcher = Watcher(follower.noted, follower.moved, follower.should_stop)
        cache_tars(store, tars, request, segmenter, settings, watcher, engine)
    say(summary(outcome, options.dataset))
    told = for_machines(outcome, options.dataset, len(outcome.results), segmenter, options.dry_run)
    return _exit_code(outcome), {**told, "tars": len(tars), **({"shard": str(shard)} if shard else {})}


def unpack(options: argparse.Namespace, events: EventWriter) -> tuple[int, dict[str, Any]]:
    """Write the mask files of tars beside the pictures; the exit code, and what to say to programs."""
    if is_meant(options) or not is_url(options.unpack):
        raise CannotStartError(
            f"{options.dataset}: give the folder with the pictures, and --unpack with the URL of tars, as in "
            "--unpack s3://bucket/{0000..0999}.tar or file:///folder/*.tar"
        )
    folder = options.dataset.expanduser()
    if not folder.is_dir():
        raise CannotStartError(f"{folder}: no such folder. Give the folder with the pictures")
    store = Store(options.unpack)
    tars = mask_tars(store)
    outcome = Outcome()
    with followed(outcome, None, events) as follower:
        for result in unpack_masks(store, tars, folder, follower.should_stop):
            follower.settled(result)
    found = Counter(result.status for result in outcome.results)
    counts = {"unpacked": found["segmented"], **{name: found[name] for name in ("fresh", "kept", "failed")}}
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    say(f"{folder}: {said or 'nothing in the tars that belongs there'}")
    failed = [{"picture": str(one.picture), "reason": one.reason} for one in outcome.of("failed")]
    told = {"dataset": str(folder), "tars": len(tars), "counts": counts, "failed": failed}
    return _exit_code(outcome), told


def _exit_code(outcome: Outcome) -> int:
    if outcome.interrupted:
        return outcome.exit_code
    return FAILED if outcome.of("failed") else SUCCESS
