"""The mask files of tars, written beside the pictures of a folder."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ...files.text import printable
from ...files.writing import MakeWay, is_regular, write_bytes
from ..contents import is_picture
from ..freshness import PictureResult
from ..mask_file import MaskFileError, check_file
from ..ownership import SUFFIX, place_to_write, way_for_masks
from .archive import MASK_TAR, masks_of, members
from .store import Store, StoreError


def mask_tars(store: Store) -> list[str]:
    """The tars of mask files of a pattern that names them, or the tars of pictures that they belong to."""
    if store.pattern.endswith(MASK_TAR):
        return store.tars()
    return list(map(masks_of, store.tars((MASK_TAR,))))


def unpack_masks(
    store: Store,
    tars: Iterable[str],
    folder: Path,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[PictureResult]:
    """Write the mask files of tars into a folder, each beside the picture of its name.

    What is there and is not ours, or was changed by hand, is kept. A mask file that has no picture there is
    passed over.

    Args:
        tars: of `mask_tars`.
        should_stop: asked before each file; the others are left unsaid.

    Yields:
        what became of each picture: segmented (its masks are there now), fresh (they were), kept or failed.
    """
    for tar in tars:
        try:
            with tempfile.TemporaryDirectory(prefix="semantic_focus_") as scratch:
                fetched = Path(scratch) / "fetched.tar"
                store.fetch(tar, fetched)
                for member, content in members(fetched, tar):
                    if should_stop():
                        return
                    if not member.name.endswith(SUFFIX):
                        continue
                    if content is None:
                        raise StoreError(f"{tar}: {printable(member.name)} leads elsewhere, or is too large")
                    if picture := _picture_of(folder / member.name):
                        yield _written(picture, folder / member.name, content)
        except StoreError as error:
            yield PictureResult(Path(tar), "failed", str(error))


def _picture_of(masks: Path) -> Path | None:
    """The picture beside a place for a mask file."""
    stem = masks.name.removesuffix(SUFFIX)
    if not masks.parent.is_dir():
        return None
    beside = sorted(masks.parent.glob(f"{_literal(stem)}.*"))
    return next((path for path in beside if path.stem == stem and is_picture(path)), None)


def _literal(text: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def _written(picture: Path, masks: Path, content: bytes) -> PictureResult:
    if is_regular(masks) and masks.read_bytes() == content:
        return PictureResult(picture, "fresh")
    try:
        target = place_to_write(masks)
        write_bytes(target, [content], _way(target))
    except MaskFileError as error:
        return PictureResult(picture, "kept", str(error))
    except (OSError, StoreError) as error:
        return PictureResult(picture, "failed", str(error))
    return PictureResult(picture, "segmented")


def _way(target: Path) -> MakeWay:
    way = way_for_masks(target)

    def make_way(temporary: Path) -> bool:
        try:
            check_file(temporary)
        except MaskFileError as error:
            raise StoreError(
                f"{target}: what is in the tar is damaged ({error.problem}). Make it anew"
            ) from error
        return way(temporary)

    return make_way
