"""What workers of all kinds do when they begin."""

import logging
import sys
from collections.abc import Callable

import torch

from .messages import Said
from .order import Order


def load_with_one_thread(order: Order) -> None:
    """Load the segmenter of an order; torch and OpenCV take one thread each from now on.

    Raises:
        MissingWeightsError, SegmenterLoadError: it cannot be loaded.
    """
    torch.set_num_threads(1)
    order.loaded()
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


class HandedOver(logging.Handler):
    """Hands the log over to who started the worker."""

    def __init__(self, tell: Callable[[Said], object]):
        super().__init__()
        self._tell = tell
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(Said(record.name, record.levelno, self.format(record)))
