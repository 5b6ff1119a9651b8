"""What is asked for of every picture of a run. It travels to other processes and machines."""

from dataclasses import dataclass
from functools import cached_property

from ...segmenters.protocol import SegmentRequest
from ...segmenters.table import LazySegmenter
from ..bulk_work import CacheSettings
from ..freshness import Freshness
from ..staleness import request_fields


@dataclass(frozen=True)
class Order:
    """What to make, with what, and how files are treated; it can be pickled."""

    request: SegmentRequest
    segmenter: LazySegmenter
    settings: CacheSettings

    @cached_property
    def asked(self) -> SegmentRequest:
        """The part of the request that makes a difference to a mask file."""
        return self.segmenter.answerable(self.request)

    @cached_property
    def freshness(self) -> Freshness:
        """What a mask file must be like; it names the weights that this process finds."""
        wanted = request_fields(self.request, self.segmenter)
        return Freshness(wanted, self.settings.encoding, self.asked.labels, self.settings.forget)

    def __getstate__(self) -> dict[str, object]:
        """Without what was read of the weights: another machine has its own."""
        return {"request": self.request, "segmenter": self.segmenter, "settings": self.settings}
