"""Fit the small networks that tell face, hair, clothing and bare skin apart in the embedded segmenter.

    python -m benchmarks.fit_parts [--check]

Learns from the hand-drawn references of the pictures that are not held out, each also mirrored, in other
light, with clothes, hair and skin of other colours and with hats (`part_versions.py`), and writes
`parts.safetensors` beside `parts.py`. What was measured of each picture is kept in `.cache/part_samples`: the
first run takes some 15 minutes on two cores, later ones two. The same drawings give the same file on the same
machine.

With --check, fits five times without a fifth of the pictures instead (those of one person or scene together),
and prints how well the segmenter then finds the parts in these: what to expect of new pictures.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.part_fitting import Settings, fit
from benchmarks.part_samples import Drawn, Source, all_rows, drawn
from benchmarks.photographs import FOLDER, PHOTOGRAPHS, provide
from benchmarks.portraits import PORTRAITS
from benchmarks.segmentation import IGNORED, LEAST_SHARE, PARTS, REFERENCES, iou
from semantic_focus.files.writing import write_atomically
from semantic_focus.segmenters.embedded.networks import FITTED, Networks, load_networks
from semantic_focus.segmenters.embedded.parts import find_parts

FOLDS = 5
SAME = {"obama3": "obama2"}
"""Pictures of one person or scene: they are left out together."""


def sources() -> list[Source]:
    """The pictures that are drawn and not held out."""
    pictures = [
        picture
        for picture in (*PHOTOGRAPHS, *PORTRAITS)
        if not picture.held_out and (REFERENCES / f"{picture.name}.json").exists()
    ]
    files = provide(FOLDER, pictures)
    return [Source(name, path, REFERENCES / f"{name}.json") for name, path in files.items()]


def folds(names: Sequence[str]) -> dict[str, int]:
    """Which fifth each picture is in."""
    scenes = list(dict.fromkeys(SAME.get(name, name) for name in names))
    return {name: scenes.index(SAME.get(name, name)) % FOLDS for name in names}


def found_in(networks: Networks, item: Drawn, fitted: Mapping[str, Tensor]) -> list[float]:
    """IoU of each part in a picture as it is analysed; NaN for a part that is hardly there."""
    found = find_parts(networks, item.picture, item.persons, fitted)
    result = []
    for index, name in enumerate(PARTS):
        truth = item.parts == 1 + index
        known = truth.mean() >= LEAST_SHARE
        result.append(iou(found[name] > 0.5, truth, item.parts != IGNORED) if known else float("nan"))
    return result


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="cross-validate instead of writing the file")
    options = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order: the same file each time
    networks, pictures = load_networks([]), sources()
    photographs = {photograph.name for photograph in PHOTOGRAPHS}
    basis, rows = all_rows([p for p in pictures if p.name in photographs], pictures, networks)
    if not options.check:
        fitted = {name: value.half() for name, value in fit(list(rows.values()), basis, Settings()).items()}
        write_atomically(FITTED, lambda temporary: save_file(fitted, temporary))
        print(f"{FITTED}: fitted to {len(rows)} pictures")
        return 0
    fold, results = folds(list(rows)), {}
    print(f"{'picture':<64}" + "".join(f"{part:>10}" for part in PARTS))
    for number in range(FOLDS):
        fitted = fit([found for name, found in rows.items() if fold[name] != number], basis, Settings())
        for source in pictures:
            if fold.get(source.name) == number:
                item = drawn(source.name, source.path, source.reference, networks)
                results[source.name] = found_in(networks, item, fitted)
                print(f"{source.name:<64}" + "".join(f"{value:10.3f}" for value in results[source.name]))
    for title, which in (("photographs", True), ("generated portraits", False)):
        mean = np.nanmean([r for name, r in results.items() if (name in photographs) is which], 0)
        print(f"{'mean, ' + title:<64}" + "".join(f"{value:10.3f}" for value in mean))
    return 0


if __name__ == "__main__":
    sys.exit(main())
