"""Which errors of a job may be others on another machine."""

import errno

from ...datasets.tars.store import StoreUnreachable
from ..outcome import TRY_AGAIN

FULL = (errno.ENOSPC, errno.EDQUOT)


def code_of(error: BaseException, code: int) -> int:
    """The exit code for an error that would have this one: `TRY_AGAIN` where a store is not reached or a disk
    is full.
    """
    cause: BaseException | None = error
    while cause is not None:
        is_full = isinstance(cause, OSError) and cause.errno in FULL
        if is_full or isinstance(cause, StoreUnreachable):
            return TRY_AGAIN
        cause = cause.__cause__
    return code
