"""Fit how likely the embedded segmenter is wrong, from how far its answers differ when asked in other ways.

    python -m benchmarks.fit_doubts

For each fifth of the pictures that are not held out, networks for the parts are fitted without it, as
`fit_parts --check` does, so that they are as wrong as they are on new pictures. What they answer then, as the
pictures are and in other colours and sizes, is compared with the drawings: a region is wrong when its IoU is
below 0.6. Writes `doubts.safetensors` beside `doubts.py`, the threshold set so that nine of ten wrong regions
are flagged, and prints what that means; takes some 15 minutes after `fit_parts`.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.fit_parts import FOLDS, folds, sources
from benchmarks.part_fitting import Settings, fit
from benchmarks.part_samples import Drawn, all_rows, drawn
from benchmarks.photographs import PHOTOGRAPHS
from benchmarks.segmentation import IGNORED, LEAST_SHARE, PARTS, iou
from semantic_focus.files.writing import write_atomically
from semantic_focus.segmenters.embedded.doubts import FITTED, NAMES, evidence_of, scores
from semantic_focus.segmenters.embedded.networks import Networks, load_networks
from semantic_focus.segmenters.embedded.persons import find_persons
from semantic_focus.segmenters.embedded.upright import find_parts_upright

WRONG, RIGHT = 0.6, 0.8
"""A region is wrong below the one IoU, and right from the other on; between them it teaches nothing."""
CAUGHT = 0.9
"""Share of the wrong regions that are to be flagged, where it was fitted."""
OWN, COMMON, STEPS = 0.3, 0.02, 200
"""How strongly what is special to a part, and what all share, is held back."""


@dataclass(frozen=True)
class Case:
    """One picture in one version: Float[4, N] of `Evidence.numbers`, each part's IoU (NaN: not known)."""

    name: str
    version: str
    numbers: np.ndarray
    ious: np.ndarray


def versions(item: Drawn, networks: Networks) -> Iterator[tuple[str, Drawn]]:
    """A picture as it is, and as others might have taken it; persons are found anew in each."""
    yield "as it is", item
    lab = cv2.cvtColor(item.picture, cv2.COLOR_RGB2LAB)
    turned = lab.copy()
    turned[..., 1], turned[..., 2] = 255 - lab[..., 2], lab[..., 1]
    worn = (item.parts == 1 + PARTS.index("clothing"))[..., None]
    recoloured = np.where(worn, cv2.cvtColor(turned, cv2.COLOR_LAB2RGB), item.picture)
    small = cv2.resize(item.picture, None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)
    size = (item.picture.shape[1], item.picture.shape[0])
    dark = (255 * (item.picture / 255.0) ** 2).astype(np.uint8)
    for version, picture in (
        ("other clothes", recoloured),
        ("small", cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)),
        ("dark", dark),
    ):
        yield version, replace(item, picture=picture, persons=find_persons(networks, picture))


def case(networks: Networks, item: Drawn, version: str, fitted: dict[str, Tensor]) -> Case:
    """Segment one picture, ask about it again, and compare it with its drawing."""
    found = find_parts_upright(networks, item.picture, item.persons, fitted)
    evidence = evidence_of(networks, item.picture, item.persons, found, fitted)
    ious = np.full(len(PARTS), np.nan)
    for index in range(len(PARTS)):
        truth, here = item.parts == 1 + index, found[PARTS[index]] > 0.5
        if truth.mean() >= LEAST_SHARE:
            ious[index] = iou(here, truth, item.parts != IGNORED)
        elif (here & (item.parts != IGNORED)).mean() >= 5 * LEAST_SHARE:
            ious[index] = 0  # there is no such thing in the picture
    return Case(item.name, version, evidence.numbers(), ious)


def weights(cases: Sequence[Case]) -> dict[str, Tensor]:
    """Logistic regression, for each part near to the one for all; see `doubts.fitted_weights`."""
    numbers = torch.from_numpy(np.stack([one.numbers for one in cases])).float()
    ious = torch.from_numpy(np.stack([one.ious for one in cases])).float()
    known = (ious < WRONG) | (ious >= RIGHT - 0.1)
    target = (ious < WRONG).float()
    mean, scale = numbers.mean((0, 1)), numbers.std((0, 1)) + 0.05
    scaled = (numbers - mean) / scale
    common = torch.zeros(len(NAMES), requires_grad=True)
    own = torch.zeros(len(PARTS), len(NAMES), requires_grad=True)
    bias = torch.zeros(len(PARTS), requires_grad=True)
    optimiser = torch.optim.LBFGS([common, own, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        odds = (scaled * (common + own)).sum(2) + bias
        loss = torch.nn.functional.binary_cross_entropy_with_logits(odds[known], target[known])
        loss = loss + COMMON * (common * common).mean() + OWN * (own * own).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    weight = (common + own).detach()
    return {"mean": mean, "scale": scale, "weight": weight.contiguous(), "bias": bias.detach()}


def shifted(fitted: dict[str, Tensor], cases: Sequence[Case], chances: np.ndarray) -> dict[str, Tensor]:
    """The same with a threshold of one half that catches CAUGHT of the wrong regions."""
    wrong = np.concatenate([chance[one.ious < WRONG] for one, chance in zip(cases, chances, strict=True)])
    limit = float(np.quantile(wrong, 1 - CAUGHT))
    return {**fitted, "bias": fitted["bias"] - float(np.log(limit / (1 - limit)))}


def told(cases: Sequence[Case], chances: np.ndarray) -> str:
    """How many wrong regions are flagged, and how many pictures in which nothing is wrong."""
    wrong = [chance[one.ious < WRONG] >= 0.5 for one, chance in zip(cases, chances, strict=True)]
    right = [
        (chance >= 0.5).any()
        for one, chance in zip(cases, chances, strict=True)
        if (one.ious[~np.isnan(one.ious)] >= RIGHT).all()
    ]
    caught = np.concatenate(wrong)
    return (
        f"{caught.sum()} of {len(caught)} wrong regions flagged; of {len(right)} pictures in which every "
        f"region is right, {sum(right)}"
    )


def main() -> int:
    """Command line."""
    torch.set_num_threads(1)  # sums in one order: the same file each time
    networks, pictures = load_networks([]), sources()
    photographs = {photograph.name for photograph in PHOTOGRAPHS}
    basis, rows = all_rows([p for p in pictures if p.name in photographs], pictures, networks)
    fold, cases = folds(list(rows)), []
    for number in range(FOLDS):
        fitted = fit([found for name, found in rows.items() if fold[name] != number], basis, Settings())
        for source in pictures:
            if fold.get(source.name) == number:
                item = drawn(source.name, source.path, source.reference, networks)
                cases += [case(networks, one, name, fitted) for name, one in versions(item, networks)]
        print(f"fold {number + 1} of {FOLDS}: {len(cases)} cases", flush=True)
    chances = np.zeros((len(cases), len(PARTS)))
    for number in range(FOLDS):
        others = [one for one in cases if fold[one.name] != number]
        found = weights(others)
        for index, one in enumerate(cases):
            if fold[one.name] == number:
                chances[index] = scores(one.numbers, found)
    result = weights(cases)
    limit = shifted(result, cases, chances)
    moved = float((limit["bias"] - result["bias"])[0])
    odds = np.log(np.clip(chances, 1e-6, 1 - 1e-6) / np.clip(1 - chances, 1e-6, 1)) + moved
    write_atomically(FITTED, lambda temporary: save_file(limit, temporary))
    for version in dict.fromkeys(one.version for one in cases):
        chosen = [index for index, one in enumerate(cases) if one.version == version]
        print(f"{version}: {told([cases[i] for i in chosen], 1 / (1 + np.exp(-odds[chosen])))}")
    print(f"{FITTED}: fitted to {len(cases)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
