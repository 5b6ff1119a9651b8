"""Small networks of our own that name the part each pixel of a person belongs to.

They read the hand-made numbers of `features.py` and the activations of `deep.py`; `benchmarks/fit_parts.py`
fitted them to drawings. Their first layer adds up what each source says, so a source can be left out: they
were fitted with sources missing now and then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from .deep import BEYOND, READERS, Sight, cells, gathered, nearness, sampled
from .networks import FITTED
from .taps import INNER

PARTS = ("face", "hair", "clothing", "body")
CHUNK = 1 << 13
"""Pixels that are classified at a time: more does not fit into a processor's cache."""
PLACE = "place"
DEEP = ("whole", "head", "face")
EVERYTHING = (PLACE, *DEEP)

Fitted = Mapping[str, Tensor]


@cache
def fitted_networks() -> Fitted:
    """N networks of three layers, H = N + 1 times the hidden units.

    `place` Float[F, H] weighs the hand-made numbers, `SQUARE/FILE:TENSOR` Float[C, H] the activations,
    `SQUARE/near` Float[H] how far inside the square a pixel is, `SOURCE/bias` Float[H] goes with each source;
    `bias_1` Float[H]; `weight_i` Float[N, in, out] and `bias_i` Float[N, out] are the layers behind. The last
    of the H belong to one network more, `presence/...`, that says whether anybody is there.
    """
    return {name: value.float() for name, value in load_file(FITTED).items()}


@dataclass(frozen=True)
class Heard:
    """What the first layer hears from one square: Float[GRID * GRID, H], and where the square is."""

    layer: Tensor
    transform: np.ndarray


def heard(sights: Mapping[str, Sight], fitted: Fitted | None = None) -> dict[str, Heard]:
    """What the first layer hears from each square of a person."""
    fitted = fitted_networks() if fitted is None else fitted
    result = {}
    for square, sight in sights.items():
        weights = {
            f"{reader.file}:{number}": fitted[f"{square}/{reader.file}:{number}"]
            for reader in READERS[square]
            for number in INNER[reader.file]
        }
        result[square] = Heard(gathered(sight, weights).add_(fitted[f"{square}/bias"]), sight.transform)
    return result


def classify(
    place: np.ndarray | None,
    squares: Mapping[str, Heard],
    points: np.ndarray,
    where: np.ndarray,
    using: Sequence[Sequence[str]] = (EVERYTHING,),
    fitted: Fitted | None = None,
) -> np.ndarray:
    """Float[U, 5, h, w]: probability of each part, the mean over the fitted networks, and that of anybody
    being there at all.

    Args:
        place: Float[F, h, w], see `features.py`; None where it is not known.
        squares: what is heard from each square.
        points: Float[h * w, 2], where in the picture the pixels are.
        where: Bool[h, w], the pixels that matter; the others are somebody's clothing.
        using: U choices of sources; one answer for each.
    """
    fitted = fitted_networks() if fitted is None else fitted
    result = np.zeros((len(using), len(PARTS) + 1, *where.shape), np.float32)
    result[:, [PARTS.index("clothing"), -1]] = 1
    flat = result.reshape(len(using), len(PARTS) + 1, -1)
    numbers = None if place is None else place.reshape(len(place), -1)
    for pixels in np.array_split(np.flatnonzero(where), max(1, int(where.sum()) // CHUNK)):
        said: dict[str, Tensor] = {}
        if numbers is not None:
            inputs = torch.from_numpy(numbers[:, pixels].T)
            said[PLACE] = torch.addmm(fitted["place/bias"], inputs, fitted["place"])
        for square, known in squares.items():
            at = points[pixels]
            found = sampled(known.layer, cells(known.transform, at, BEYOND[square]))
            near = torch.from_numpy(nearness(known.transform, at))
            said[square] = torch.addr(found, near, fitted[f"{square}/near"])
        for answer, sources in zip(flat, using, strict=True):
            first = fitted["bias_1"].expand(len(pixels), -1).contiguous()
            for name in sources:
                if name in said:
                    first.add_(said[name])
            answer[:, pixels] = _behind(fitted, first).numpy()
    return result


def _behind(fitted: Fitted, first: Tensor) -> Tensor:
    """Float[5, P] of the first layer's Float[P, H]."""
    own = first.relu().reshape(len(first), len(fitted["bias_2"]) + 1, -1).transpose(0, 1)
    parts = _softmax(_last_layers(fitted, "", own[:-1])).mean(0)
    presence = _softmax(_last_layers(fitted, "presence/", own[-1:]))[0, 1:]
    return torch.cat([parts, presence])


def _last_layers(fitted: Fitted, name: str, x: Tensor) -> Tensor:
    """Float[N, out, P] of Float[N, P, in]: pixels last, which is what exponentials are quick with."""
    x = torch.baddbmm(fitted[f"{name}bias_2"][:, None], x, fitted[f"{name}weight_2"]).relu_()
    weight, bias = fitted[f"{name}weight_3"], fitted[f"{name}bias_3"]
    # in float64: some processors give so narrow a product other last bits with another number of threads
    found = torch.baddbmm(bias.double()[:, None], x.double(), weight.double())
    return found.float().transpose(1, 2).contiguous()


def _softmax(x: Tensor) -> Tensor:
    """Of Float[N, out, P] over `out`; torch's own gives other last bits with another number of threads."""
    x = (x - x.amax(1, keepdim=True)).exp_()
    return x.div_(x.sum(1, keepdim=True))
