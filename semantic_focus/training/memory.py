"""How much of a model stays on the device while it is trained."""

import re
from dataclasses import dataclass
from typing import Any

from ..files.text import shortened

GIB = 2**30

AUTO = "auto"
ALL = "all on the GPU"
MEMORY_CHOICES = (AUTO, ALL, *(f"swap {percent} %" for percent in range(10, 101, 10)))
"""What a user chooses among; a text setting takes any whole number of percent."""
WAYS = f'choose "{AUTO}", "{ALL}" or "swap N %" with N from 0 to 100'


@dataclass(frozen=True)
class MemorySetting:
    """How much waits in RAM.

    Attributes:
        swap: share in 0..1 of the blocks' weights that is brought to the device block by block. None: the
            least that fits.
        inputs: inputs of recomputed blocks wait in RAM too (only with gradient checkpointing).
    """

    swap: float | None = None
    inputs: bool = False

    @classmethod
    def of(cls, text: Any) -> "MemorySetting":
        """From what a user set: "auto", "all on the GPU" or "swap N %", in any case and with any spaces.

        Raises:
            ValueError: anything else.
        """
        words = " ".join(str(text).lower().split())
        if words == AUTO:
            return cls()
        if words == ALL.lower():
            return cls(0.0)
        found = re.fullmatch(r"swap ?([0-9]{1,3}) ?%", words)
        if found is None or int(found[1]) > 100:
            raise ValueError(f'memory is "{shortened(text)}": {WAYS}')
        return cls(int(found[1]) / 100, inputs=int(found[1]) == 100)

    def said(self) -> str:
        """As a user would set it."""
        if self.swap is None:
            return AUTO
        text = f"swap {self.swap:.0%}".replace("%", " %") if self.swap else ALL
        return f"{text}, inputs of blocks in RAM" if self.inputs and self.swap < 1 else text
