"""The curves of a file that another program writes, read on from where the last look ended."""

import json
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .curves import MOST_POINTS, TrainingCurves
from .curves_file import LONGEST_LINE, record_of_any_version

BUFFER = 1 << 20
"""Bytes that are asked of the storage at once."""
TAIL = 256
"""Bytes before the place that was reached, by which the file is known again."""
_STEP = re.compile(rb'\{"step": (\d{1,18}),')
"""How a line begins."""


class GrowingCurves:
    """The steps of a curves file as far as it was read, few enough to be shown.

    Of a long file not every line is parsed: those whose points would not be kept are passed over. A line
    without its end is still being written, and waits. What another version tells besides is left out.

    Args:
        path: it need not exist.
        clock: seconds.

    Attributes:
        curves: of the lines that were read.
        damaged: lines so far that hold no step, or one that was there before.
        key: another one whenever the file is not the one of before with more lines.
        share: of the file that was read, in 0..1; 1 when it was read to the end.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic):
        self._path, self._clock = path, clock
        self._begin()

    def _begin(self) -> None:
        self.key = uuid.uuid4().hex
        self.curves = TrainingCurves()
        self.damaged = 0
        self.share = 1.0
        self._offset, self._tail = 0, b""
        self._skip, self._passed = 1, b""
        self._state: tuple[int, int] | None = None

    def look(self, seconds: float) -> None:
        """Read on for about so long; nothing is opened where nothing was written.

        Raises:
            OSError: it cannot be read.
        """
        try:
            found = self._path.stat()
            state = found.st_size, found.st_mtime_ns
            if state == self._state:
                return
            with self._path.open("rb", buffering=BUFFER) as file:
                self._read(file, found.st_size, seconds)
        except FileNotFoundError:
            if self._offset:
                self._begin()
            return
        self._state = state if self.share == 1 else None

    def _read(self, file: BinaryIO, size: int, seconds: float) -> None:
        end = self._clock() + seconds
        if not self._goes_on(file):
            self._begin()
            file.seek(0)
        while self._clock() < end:
            line = file.readline(LONGEST_LINE)
            if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                self._end_reached()
                return
            if not self._offset:
                self._skip = _stride(size // len(line))
            self._offset += len(line)
            self._tail = (self._tail + line[-TAIL:])[-TAIL:]
            self._take(line)
        self.share = min(self._offset / max(size, 1), 0.999)

    def _end_reached(self) -> None:
        """The last step is shown in any case, and so is each that comes from now on."""
        self.share, self._skip = 1.0, 1
        if self._passed:
            self._parse(self._passed)
            self._passed = b""

    def _goes_on(self, file: BinaryIO) -> bool:
        """Whether what stands before the place that was reached is what was read there; the file is there
        then.
        """
        file.seek(self._offset - len(self._tail))
        return file.read(len(self._tail)) == self._tail

    def _take(self, line: bytes) -> None:
        begins = _STEP.match(line)
        if begins and (int(begins[1]) - 1) % self._skip and b'"validation"' not in line:
            self._passed = line
            return
        self._passed = b""
        self._parse(line)

    def _parse(self, line: bytes) -> None:
        try:
            record = record_of_any_version(json.loads(line))
            if record.step <= self.curves.last_step:
                raise ValueError("it was there before")
        except (ValueError, AttributeError, RecursionError):
            self.damaged += line.endswith(b"\n")
            return
        self.curves.add(record)


def _stride(lines: int) -> int:
    """The largest power of two by which `TrainingCurves` thins out so many steps in any case."""
    return 1 << max(0, (lines // MOST_POINTS).bit_length() - 1)
