"""What is asked for of every picture of a run. It travels to other processes and machines."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ...segmenters.protocol import MissingWeightsError, Segmenter, SegmentRequest
from ...segmenters.table import LazySegmenter
from ..bulk_work import CacheSettings
from ..freshness import Freshness
from ..staleness import request_fields


class SegmenterLoadError(RuntimeError):
    """The segmenter has its weights but could not be loaded; no picture can be segmented."""


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

    def loaded(self) -> Segmenter:
        """The segmenter.

        Raises:
            MissingWeightsError, SegmenterLoadError: it cannot be loaded.
        """
        try:
            return self.segmenter.get()
        except MissingWeightsError:
            raise
        except Exception as error:
            raise SegmenterLoadError(
                f"segmentation backend {self.segmenter.name!r} could not be loaded "
                f"({type(error).__name__}: {error}). Check its weight files, or choose another backend"
            ) from error

    def check_same(self, wanted: Mapping[str, str], where: str) -> None:
        """Raise SegmenterLoadError where a worker would make other mask files than are asked for here.

        Args:
            wanted: its `freshness.wanted`.
            where: what the message calls it.
        """
        for name, value in self.freshness.wanted.items():
            if wanted.get(name) != value:
                raise SegmenterLoadError(
                    f"{where} would make other masks: {name} is {wanted.get(name)} there, {value} here. "
                    "Install the same version, and the same weights at the same place, everywhere"
                )

    def __getstate__(self) -> dict[str, object]:
        """Without what was read of the weights: another machine has its own."""
        return {"request": self.request, "segmenter": self.segmenter, "settings": self.settings}
