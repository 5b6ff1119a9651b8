"""What a training that ended early has left."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kept:
    """What a training that ended early has left.

    Attributes:
        step: the last one done.
        state, lora: files in the run folder; None where none could be written.
        reason: the name of the error, or what it says.
        again: whether the same training may simply be run again.
    """

    step: int
    state: Path | None
    lora: Path | None
    reason: str
    again: bool = True

    def __str__(self) -> str:
        stopped = f"Training stopped at step {self.step} ({self.reason})"
        if self.state is None:
            return f"{stopped}, and its state could not be written: the last one on disk stays"
        lora = "could not be written" if self.lora is None else f"is {self.lora}"
        if not self.again:
            return (
                f"{stopped}. Its state is in {self.state}: change what the error names, and go on from there "
                f"with Load Train State. The LoRA so far {lora}"
            )
        return (
            f"{stopped}. Its state is in {self.state}: run it again with the same settings to go on from "
            f"there. The LoRA so far {lora}"
        )
