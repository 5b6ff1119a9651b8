"""A store that fsspec reaches, as far as tars, inputs and outputs have need of it."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

from ...files.command_lines import to_install
from ...files.text import in_short
from ...files.writing import MakeWay, write_bytes
from ...segmenters.runtimes import is_installed

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://.")
BRACES = re.compile(r"\{([^{}]*)\}")
NUMBERS = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
MOST_SHARDS = 1_000_000

WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}
"""Stores in which an object is seen when all of it has come, and not before."""
DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "oss": "ossfs", "oci": "ocifs"}
DRIVERS |= dict.fromkeys(("abfs", "abfss", "az", "adl"), "adlfs")
"""What pip calls the package that fsspec reaches a store with."""

VERSION_FIELDS = ("ETag", "etag", "md5Hash", "content_md5", "md5", "crc32c", "LastModified", "last_modified")
VERSION_FIELDS += ("updated", "mtime", "created")
"""What tells one version of an object from another, the surest first."""


class StoreError(ValueError):
    """A store or an object that cannot be used; the message names it and the way out."""


class StoreUnreachable(StoreError):
    """A store that gave an error of its own: later, or from elsewhere, it may answer."""


def is_url(text: str) -> bool:
    """Whether this is the URL of something in a store, and no path."""
    return URL.match(text) is not None


def expanded(pattern: str) -> list[str]:
    """The URLs of a pattern: `{000..999}` stands for numbers of this width, `{a,b}` for each of these.

    Raises:
        StoreError: braces with something else in them, or too many URLs.
    """
    parts: list[Sequence[str]] = []
    end, count = 0, 1
    for found in BRACES.finditer(pattern):
        parts += [[pattern[end : found.start()]], _choices(pattern, found[1])]
        end, count = found.end(), count * len(parts[-1])
        if count > MOST_SHARDS:
            raise StoreError(f"{pattern}: stands for more than {MOST_SHARDS} tars. Give several patterns")
    return ["".join(words) for words in product(*parts, [pattern[end:]])]


def _choices(pattern: str, text: str) -> Sequence[str]:
    if numbers := NUMBERS.fullmatch(text):
        first, last = int(numbers[1]), int(numbers[2])
        if last - first >= MOST_SHARDS:
            raise StoreError(f"{pattern}: stands for more than {MOST_SHARDS} tars. Give several patterns")
        if first <= last:
            return [f"{number:0{len(numbers[1])}}" for number in range(first, last + 1)]
    if "," in text:
        return text.split(",")
    raise StoreError(f"{pattern}: {{{text}}} is neither numbers as {{000..999}} nor words as {{a,b}}")


class Store:
    """A store; its objects are named by their paths in it."""

    def __init__(self, pattern: str, puts: bool = True):
        """
        Args:
            pattern: a URL, see `expanded`; `*` and `?` stand for any characters.
            puts: whether something will be put there.

        Raises:
            StoreError: fsspec or its driver is not installed, or the store is none in which a file is seen
                when it is complete and not before.
        """
        protocol = pattern.partition("://")[0].lower()
        if puts and (protocol not in WHOLE_PUTS | {"file", "local"} or "::" in pattern):
            known = ", ".join(sorted(WHOLE_PUTS - {"memory"} | {"file"}))
            raise StoreError(
                f"{pattern}: files can be put into {known}. In another store a file may be seen half "
                "written: mount it, and give its folder"
            )
        if not is_installed("fsspec"):
            raise StoreError(f"{pattern}: fsspec is not installed. To install it:{to_install('fsspec')}")
        fsspec: Any = import_module("fsspec")
        try:
            self._fs, self.path = fsspec.core.url_to_fs(pattern)
        except ValueError as error:
            raise StoreError(f"{pattern}: no store that fsspec knows ({in_short(error)})") from error
        except ImportError as error:
            driver = DRIVERS.get(protocol, "fsspec")
            raise StoreError(f"{pattern}: {error}. To install it:{to_install(driver)}") from error
        self.pattern, self._is_local = pattern, protocol in ("file", "local")

    def tars(self, left_out: tuple[str, ...] = ()) -> list[str]:
        """The tars of the pattern, but those whose names end so. Without a * they need not be there.

        Raises:
            StoreError: there are none, or the store cannot be asked.
        """
        found: list[str] = []
        for url in expanded(self.pattern):
            path = self._fs._strip_protocol(url)
            with _named(path):
                found += sorted(self._fs.glob(path)) if set(path) & set("*?[") else [path]
        found = [path for path in found if path.endswith(".tar") and not path.endswith(left_out)]
        if not found:
            raise StoreError(
                f"{self.pattern}: no .tar of that name. Give tars, as in s3://bucket/{{000..999}}.tar"
            )
        return found

    def version(self, path: str) -> str | None:
        """Tells one content of an object from another; None where there is no object.

        Raises:
            StoreError: the store cannot be asked.
        """
        with _named(path):
            if not self._fs.exists(path):
                return None
            about: Mapping[str, object] = self._fs.info(path)
        told = next((f"{name} {about[name]}" for name in VERSION_FIELDS if about.get(name)), "")
        return f"{about.get('size')} bytes {told}".strip()

    def below(self, path: str) -> list[str]:
        """The objects below a path, by their paths in the store.

        Raises:
            StoreError: the store cannot be asked.
        """
        with _named(path):
            return sorted(self._fs.find(path))

    def remove(self, path: str) -> None:
        """Remove an object, if it is there.

        Raises:
            StoreError: it cannot be removed.
        """
        with _named(path):
            if self._fs.exists(path):
                self._fs.rm_file(path)

    def part(self, path: str, start: int, end: int | None) -> bytes:
        """Bytes of an object.

        Raises:
            StoreError: it cannot be read.
        """
        with _named(path):
            return self._fs.cat_file(path, start=start, end=end)

    def fetch(self, path: str, to: Path) -> None:
        """Bring an object into a file.

        Raises:
            StoreError: it cannot be read, or there is no room for it.
        """
        with _named(path):
            free, size = shutil.disk_usage(to.parent).free, self._fs.size(path) or 0
            if size > free:
                raise StoreError(
                    f"{path}: has {size} bytes, and {to.parent} has room for {free}. Free some space, or set "
                    "TMPDIR to a folder on another disk"
                )
            self._fs.get_file(path, str(to))

    def put(self, path: str, content: bytes, make_way: MakeWay | None = None) -> None:
        """Put an object: complete, or not at all.

        Args:
            make_way: of a local file, see `files.writing.write_atomically`.

        Raises:
            StoreError: it cannot be put.
        """
        with _named(path):
            if self._is_local:
                write_bytes(Path(path), [content], make_way)
            else:
                self._fs.pipe_file(path, content)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Errors of a store, of which each driver has its own, as StoreError with the object's path."""
    try:
        yield
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise StoreError(f"{path}: nothing is there. Correct the URL") from error
    except PermissionError as error:
        raise StoreError(f"{path}: the store gave an error ({in_short(error)})") from error
    except Exception as error:
        raise StoreUnreachable(f"{path}: the store gave an error ({in_short(error)})") from error
