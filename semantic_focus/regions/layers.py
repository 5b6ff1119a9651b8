"""What a person decided about the masks of one picture."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class HandLayer:
    """What a person decided about one region of one picture.

    Attributes:
        value: Float[H, W] in 0..1; it counts only where `said`.
        said: Bool[H, W].
    """

    value: Tensor
    said: Tensor

    @property
    def everywhere(self) -> bool:
        """Whether every pixel is decided."""
        return bool(self.said.all())


@dataclass(frozen=True)
class ByHand:
    """The masks of one picture without its hand layers, and these.

    Attributes:
        machine: Float[K, H, W] in 0..1.
        machine_labels: K names.
        layers: by region; each says something.
        new: regions that were decided since the masks were read from a file.
    """

    machine: Tensor
    machine_labels: tuple[str, ...]
    layers: Mapping[str, HandLayer]
    new: frozenset[str] = frozenset()
