"""What is in a tar of pictures and in a tar of mask files, and how the latter is made.

The first member of a tar of mask files is its manifest. It tells what the masks were asked to be and of which
tar of pictures they are, so that whether there is work to do shows in the first bytes. The same masks give
the same bytes.
"""

import io
import json
import math
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from ...files.names import leads_out
from ...files.text import parsed_json
from ...files.writing import MakeWay, is_regular, make_folder, write_bytes
from ..contents import is_picture
from ..ownership import SUFFIX
from .store import Store, StoreError

MASK_TAR = "_zi_masks.tar"
"""Ending of a tar of mask files: in place of the `.tar` of the pictures' own."""
MANIFEST = "zi_masks_manifest.json"
FORMAT = "1"
BLOCK = 512
"""Bytes of the header of a member."""
MOST_MANIFEST_BYTES = 1 << 26
MOST_MEMBER_BYTES = 1 << 30


@dataclass(frozen=True)
class Manifest:
    """What is known of the masks of a tar.

    Attributes:
        wanted: the header fields that its mask files have, and their encoding.
        source: version of the tar of pictures, see `Store.version`.
        pictures: names of those that have masks, in order.
        failed: the others, each with the reason.
    """

    wanted: Mapping[str, str]
    source: str
    pictures: tuple[str, ...]
    failed: Mapping[str, str]
    format: str = FORMAT


def masks_of(tar: str) -> str:
    """Path of the tar of mask files that belongs to a tar of pictures."""
    return tar.removesuffix(".tar") + MASK_TAR


def read_manifest(store: Store, path: str) -> Manifest | None:
    """Of a tar of mask files; None where there is no such tar.

    Raises:
        StoreError: it cannot be read, or something else is there, which is never replaced.
    """
    if store.version(path) is None:
        return None
    try:
        member = tarfile.TarInfo.frombuf(store.part(path, 0, BLOCK), "utf-8", "surrogateescape")
        if member.name != MANIFEST or not 0 < member.size <= MOST_MANIFEST_BYTES:
            raise ValueError(f"its first member is {member.name!r}, no manifest")
        return _parsed(store.part(path, BLOCK, BLOCK + member.size))
    except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"{path}: it is no tar of mask files of ours ({error}), and is never replaced. Move it away"
        ) from error


def way_for(path: Path) -> MakeWay:
    """For `writing.write_atomically`: only what is ours is replaced."""

    def make_way(temporary: Path) -> bool:
        if os.path.lexists(path) and not (is_regular(path) and _is_ours(path)):
            raise StoreError(
                f"{path}: it is no tar of mask files of ours, and is never replaced. Move it away"
            )
        return True

    return make_way


def _is_ours(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            member = tarfile.TarInfo.frombuf(file.read(BLOCK), "utf-8", "surrogateescape")
    except (OSError, tarfile.TarError):
        return False
    return member.name == MANIFEST


def _parsed(content: bytes) -> Manifest:
    told = parsed_json(content.decode("utf-8"))
    texts = [told["format"], told["source"], *told["pictures"]]
    texts += [*told["wanted"].values(), *told["failed"].values()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("its manifest has something else than texts")
    return Manifest(told["wanted"], told["source"], tuple(told["pictures"]), told["failed"], told["format"])


def packed(manifest: Manifest, folder: Path) -> bytes:
    """A tar of mask files: the manifest, then the mask file of each of its pictures in a folder."""
    out = io.BytesIO()
    content = json.dumps(asdict(manifest), sort_keys=True, ensure_ascii=True).encode()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, MANIFEST, content, 0)
        for name in manifest.pictures:
            masks = PurePosixPath(name).with_suffix("").as_posix() + SUFFIX
            picture = os.stat(folder / name)
            _add(tar, masks, (folder / masks).read_bytes(), math.ceil(picture.st_mtime))
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, time: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(content), time
    tar.addfile(member, io.BytesIO(content))


def unpack(tar: Path, called: str, folder: Path) -> list[str]:
    """Write the pictures and mask files of a tar into a folder, with their times.

    Args:
        called: what a message calls it.

    Returns:
        what was left out, and why.

    Raises:
        StoreError: it is no tar, or damaged.
    """
    left_out = []
    for member, content in members(tar, called):
        if content is None:
            left_out.append(f"{member.name}: its name leads elsewhere, or it is too large")
            continue
        target = folder / member.name
        for parent in reversed(target.relative_to(folder).parents[:-1]):
            make_folder(folder / parent)
        write_bytes(target, [content])
        os.utime(target, (member.mtime, member.mtime))
    return left_out


def members(tar: Path, called: str) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """The pictures and mask files of a tar; no content where it is not to be unpacked.

    Args:
        called: what a message calls it.

    Raises:
        StoreError: it is no tar, or damaged.
    """
    try:
        with tarfile.open(tar, "r|") as opened:
            for member in opened:
                name = PurePosixPath(member.name)
                if not member.isfile() or not (is_picture(Path(name)) or name.name.endswith(SUFFIX)):
                    continue
                if leads_out(member.name) or member.size > MOST_MEMBER_BYTES:
                    yield member, None
                    continue
                file = opened.extractfile(member)
                yield member, file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise StoreError(f"{called}: no tar, or damaged ({error}). Put it anew") from error
