"""Fit how likely the embedded segmenter is wrong, from how far its answers differ when asked in other ways.

    python -m benchmarks.fit_doubts

For each third of the pictures that are not held out, networks for the parts are fitted without it, so that
they are as wrong as they are on new pictures. What they answer then, as the pictures are and in other colours
and sizes, is compared with the drawings: a region is wrong when its IoU is below 0.6. Writes
`doubts.safetensors` beside `doubts.py`, the threshold set so that 17 of 20 wrong regions are flagged that
were not fitted to, and prints what that means; takes some 5 minutes after `fit_parts`.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.fit_parts import SAME, sources
from benchmarks.part_fitting import Settings, Taught, fit
from benchmarks.part_samples import Components, Drawn, Source, all_rows, drawn
from benchmarks.photographs import PHOTOGRAPHS
from benchmarks.segmentation import IGNORED, LEAST_SHARE, PARTS, iou
from semantic_focus.files.writing import write_atomically
from semantic_focus.segmenters.embedded.doubts import FITTED, NAMES, evidence_of, scores
from semantic_focus.segmenters.embedded.networks import Networks, load_networks
from semantic_focus.segmenters.embedded.persons import find_persons
from semantic_focus.segmenters.embedded.upright import find_parts_upright

WRONG, RIGHT = 0.6, 0.8
"""A region is wrong below the one IoU, and right from the other on; between them it teaches nothing."""
CAUGHT = 0.85
"""Share of the wrong regions that are to be flagged."""
FOLDS, PROCESSES = 3, 2
SETTINGS = replace(Settings(), networks=1)
"""One network is about as often wrong as three."""
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
    for version, picture in (
        ("other clothes", recoloured),
        ("small", cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)),
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


def limit_of(cases: Sequence[Case], odds: np.ndarray) -> float:
    """The log odds from which CAUGHT of the wrong regions are flagged."""
    wrong = [chance[one.ious < WRONG] for one, chance in zip(cases, odds, strict=True)]
    return float(np.quantile(np.concatenate(wrong), 1 - CAUGHT))


def told(cases: Sequence[Case], odds: np.ndarray) -> str:
    """How many wrong regions are flagged, and how many pictures in which nothing is wrong."""
    wrong = [chance[one.ious < WRONG] >= 0 for one, chance in zip(cases, odds, strict=True)]
    right = [
        bool((chance >= 0).any())
        for one, chance in zip(cases, odds, strict=True)
        if (one.ious[~np.isnan(one.ious)] >= RIGHT).all()
    ]
    caught = np.concatenate(wrong)
    return (
        f"{caught.sum()} of {len(caught)} wrong regions flagged; of {len(right)} pictures in which every "
        f"region is right, {sum(right)}"
    )


def all_sources() -> tuple[list[Source], Components, Mapping[str, Taught]]:
    """The drawn pictures, and what was measured of them."""
    pictures = sources()
    photographs = {photograph.name for photograph in PHOTOGRAPHS}
    return pictures, *all_rows([p for p in pictures if p.name in photographs], pictures, load_networks([]))


def left_out(number: int) -> list[Case]:
    """The cases of the pictures of one fold, by networks that were fitted without them."""
    torch.set_num_threads(1)  # sums in one order: the same file each time
    pictures, basis, rows = all_sources()
    mine = fold_of(list(rows))
    fitted = fit([found for name, found in rows.items() if mine[name] != number], basis, SETTINGS)
    networks, cases = load_networks([]), []
    for source in pictures:
        if mine.get(source.name) == number:
            item = drawn(source.name, source.path, source.reference, networks)
            cases += [case(networks, one, name, fitted) for name, one in versions(item, networks)]
    return cases


def fold_of(names: Sequence[str]) -> dict[str, int]:
    """Which fold each picture is in: those of one person or scene are in one."""
    scenes = list(dict.fromkeys(SAME.get(name, name) for name in names))
    return {name: scenes.index(SAME.get(name, name)) % FOLDS for name in names}


def main() -> int:
    """Command line."""
    with ProcessPoolExecutor(1) as pool:  # nothing of the networks is in this process, which is forked
        names = pool.submit(drawn_names).result()
    with ProcessPoolExecutor(PROCESSES) as pool:
        cases = [one for found in pool.map(left_out, range(FOLDS)) for one in found]
    torch.set_num_threads(1)
    fold, chances = fold_of(names), np.zeros((len(cases), len(PARTS)))
    for number in range(FOLDS):
        found = weights([one for one in cases if fold[one.name] != number])
        for index, one in enumerate(cases):
            if fold[one.name] == number:
                chances[index] = scores(one.numbers, found)
    odds = np.log(np.clip(chances, 1e-6, 1 - 1e-6) / np.clip(1 - chances, 1e-6, 1))
    moved = limit_of(cases, odds)
    result = weights(cases)
    result["bias"] = result["bias"] - moved
    write_atomically(FITTED, lambda temporary: save_file(result, temporary))
    for version in dict.fromkeys(one.version for one in cases):
        chosen = [index for index, one in enumerate(cases) if one.version == version]
        print(f"{version}: {told([cases[i] for i in chosen], odds[chosen] - moved)}")
    print(f"{FITTED}: fitted to {len(cases)} cases")
    return 0


def drawn_names() -> list[str]:
    """The pictures that were measured; it measures those that were not."""
    return list(all_sources()[2])


if __name__ == "__main__":
    sys.exit(main())
