"""The parts of persons who lie or stand on their head: found in the picture turned upright for them."""

from collections.abc import Sequence

import numpy as np

from .classifier import Fitted
from .networks import Networks
from .parts import PARTS, find_parts
from .persons import Person


def find_parts_upright(
    networks: Networks, picture: np.ndarray, persons: Sequence[Person], fitted: Fitted | None = None
) -> dict[str, np.ndarray]:
    """As `find_parts`, of persons in any attitude."""
    result = {name: np.zeros(picture.shape[:2], np.float32) for name in PARTS}
    for quarters in sorted({person.quarters for person in persons}):
        turned = np.ascontiguousarray(np.rot90(picture, quarters))
        group = [person.turned(quarters) for person in persons if person.quarters == quarters]
        for name, part in find_parts(networks, turned, group, fitted).items():
            result[name] += np.rot90(part, -quarters)
    return result
