"""The mask files of tars of pictures: each is brought here, worked on as a folder, and its masks are put."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...files.writing import NotWrittenError
from ...segmenters.protocol import SegmentRequest
from ...segmenters.table import LazySegmenter
from ..bulk import Engine, cache_pictures, in_this_process
from ..bulk_work import CacheSettings
from ..engines.order import Order
from ..folder import DatasetError, list_pictures
from ..freshness import PictureResult
from ..mask_file import mask_path
from .archive import Manifest, masks_of, packed, read_manifest, unpack, way_for
from .store import Store, StoreError


@dataclass(frozen=True)
class Watcher:
    """Who is told of a run.

    Attributes:
        settled: told of each picture, or of a tar, when its masks are kept or will not be.
        looked_at: told when work on a picture is done, before its tar is put.
        should_stop: asked before each picture.
    """

    settled: Callable[[PictureResult], None] = lambda result: None
    looked_at: Callable[[], None] = lambda: None
    should_stop: Callable[[], bool] = lambda: False


def cache_tars(
    store: Store,
    tars: Sequence[str],
    request: SegmentRequest,
    segmenter: LazySegmenter,
    settings: CacheSettings | None = None,
    watcher: Watcher | None = None,
    engine: Engine = in_this_process,
) -> None:
    """Bring the tars of mask files of these tars of pictures up to date.

    A tar of masks is put when all of its pictures are done, in one go: a run that is stopped or killed leaves
    those that are put, and of the others nothing. One bad tar does not stop the others, one whose masks
    cannot be put does.

    Args:
        tars: of `store.tars`.
        engine: who does the work on the pictures of each; it must see this machine's files.

    Raises:
        DatasetError, MissingWeightsError, SegmenterLoadError: as `cache_pictures`.
    """
    order = Order(request, segmenter, settings or CacheSettings())
    run = _Run(store, order, watcher or Watcher(), engine)
    for tar in tars:
        run.work_on(tar)


class _Run:
    """One run over tars."""

    def __init__(self, store: Store, order: Order, watcher: Watcher, engine: Engine):
        self.store, self.order, self.watcher, self.engine = store, order, watcher, engine
        self.wanted = {**order.freshness.wanted, "encoding": order.settings.encoding}
        self._takes_no_more = False

    def work_on(self, tar: str) -> None:
        """Settle all pictures of a tar."""
        if self._takes_no_more or self.watcher.should_stop():
            self._settle(tar, "left")
            return
        try:
            source = self.store.version(tar)
            if source is None:
                raise StoreError(f"{tar}: nothing is there. Correct the URL")
            manifest = read_manifest(self.store, masks_of(tar))
            reason = self._why_due(manifest, source)
            if manifest is not None and reason is None:
                self._tell_of(tar, manifest)
            elif self.order.settings.dry_run:
                self._settle(tar, "due", reason or "")
            else:
                with tempfile.TemporaryDirectory(prefix="semantic_focus_") as scratch:
                    self._make(tar, source, Path(scratch), manifest is not None)
        except (StoreError, NotWrittenError) as error:
            self._settle(tar, "failed", str(error))

    def _why_due(self, manifest: Manifest | None, source: str) -> str | None:
        """Why masks are to be made; None where they are as they should be."""
        settings = self.order.settings
        if manifest is None:
            return "it has no tar of mask files"
        if settings.force or settings.forget:
            return "forced"
        if manifest.source != source:
            return "the tar of pictures was written again"
        return None if dict(manifest.wanted) == self.wanted else "its masks are stale"

    def _make(self, tar: str, source: str, scratch: Path, has_masks: bool) -> None:
        folder, fetched = scratch / "pictures", scratch / "fetched.tar"
        folder.mkdir()
        left_out = []
        for path in (masks_of(tar), tar) if has_masks else (tar,):  # the masks: what a person changed stays
            self.store.fetch(path, fetched)
            left_out += unpack(fetched, path, folder)
            fetched.unlink()
        results = [PictureResult(Path(line.partition(": ")[0]), "failed", line) for line in left_out]
        try:
            pictures = list_pictures(folder, recursive=True).pictures
        except DatasetError as error:
            raise StoreError(_without(folder, str(error), tar)) from error
        cache_pictures(
            pictures,
            self.order.request,
            self.order.segmenter,
            self.order.settings,
            lambda result: self._note(result, folder, tar, results),
            self.watcher.should_stop,
            self.engine,
        )
        if any(result.status == "left" for result in results):
            results = [replace(result, status="left", reason="") for result in results]
        else:
            self._put(tar, source, folder, results)
        for result in results:
            self.watcher.settled(replace(result, picture=Path(tar) / result.picture))

    def _note(self, result: PictureResult, folder: Path, tar: str, results: list[PictureResult]) -> None:
        name, reason = result.picture.relative_to(folder), _without(folder, result.reason, tar)
        results.append(replace(result, picture=name, reason=reason))
        self.watcher.looked_at()

    def _put(self, tar: str, source: str, folder: Path, results: Sequence[PictureResult]) -> None:
        by_name = {result.picture.as_posix(): result for result in results}
        failed = {name: one.reason for name, one in sorted(by_name.items()) if one.status == "failed"}
        pictures = [name for name in sorted(by_name) if name not in failed]
        pictures = [name for name in pictures if mask_path(folder / name).is_file()]
        manifest = Manifest(self.wanted, source, tuple(pictures), failed)
        try:
            self.store.put(masks_of(tar), packed(manifest, folder), way_for(Path(masks_of(tar))))
        except StoreError:
            self._takes_no_more = True
            raise

    def _tell_of(self, tar: str, manifest: Manifest) -> None:
        """Settle the pictures of a tar whose masks are as they should be."""
        for name in manifest.pictures:
            self._settle(f"{tar}/{name}", "fresh")
        for name, reason in manifest.failed.items():
            self._settle(f"{tar}/{name}", "failed", f"{reason} (--force tries it again)")

    def _settle(self, name: str, status: str, reason: str = "") -> None:
        self.watcher.looked_at()
        self.watcher.settled(PictureResult(Path(name), status, reason))


def _without(folder: Path, text: str, tar: str) -> str:
    """A message without the scratch folder, which is gone when it is read."""
    return text.replace(str(folder), tar)
