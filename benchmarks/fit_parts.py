"""Fit the small networks that tell face, hair, clothing and bare skin apart in the embedded segmenter.

    python -m benchmarks.fit_parts [--check]

Learns from the hand-drawn references of the pictures that are not held out, each also mirrored, darker,
smaller, in grey and in coloured light, and writes `parts.safetensors` beside `parts.py`. With --check, fits
five times without a fifth of the pictures instead, and prints how well those are told apart: what to expect
of new pictures.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.photographs import PHOTOGRAPHS, provide
from benchmarks.segmentation import REFERENCES, read_reference
from semantic_focus.datasets.folder import load_picture
from semantic_focus.files.writing import write_atomically
from semantic_focus.segmenters.embedded.networks import FITTED, load_networks
from semantic_focus.segmenters.embedded.parts import PARTS, View, windows_of
from semantic_focus.segmenters.embedded.persons import find_persons
from semantic_focus.segmenters.embedded.segmenter import analysed

NETWORKS, HIDDEN = 4, 32
EPOCHS, BATCH, RATE, DECAY, DROPOUT, NOISE, SMOOTHING = 10, 4096, 4e-3, 1e-2, 0.1, 0.15, 0.02
PIXELS = 2500
"""Pixels taken of each person in each version of a picture; most of them near the head."""
CLASS_WEIGHT = (1.0, 1.3, 1.0, 1.3)
FOLDS = 5


@dataclass(frozen=True)
class Sample:
    """Pixels of one picture: features Float[N, F] and parts Int[N]; `persons` over all its versions."""

    features: Tensor
    parts: Tensor
    persons: int


def versions(picture: np.ndarray, parts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The picture Float[H, W, 3] and its drawing UInt8[H, W], as they are and altered."""
    yield picture, parts
    yield picture[:, ::-1], parts[:, ::-1]
    yield picture**1.6, parts
    yield np.repeat((picture @ np.array([0.3, 0.59, 0.11], np.float32))[..., None], 3, -1), parts
    for light in ((1.1, 0.95, 0.8), (0.85, 0.9, 1.15), (1.0, 0.8, 1.1)):
        yield np.clip(picture * np.array(light, np.float32), 0, 1), parts
    size = (round(picture.shape[1] * 0.55), round(picture.shape[0] * 0.55))
    yield (
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA),
        cv2.resize(parts, size, interpolation=cv2.INTER_NEAREST),
    )


def collect(name: str, path: Path, generator: np.random.Generator) -> Sample | None:
    """What one photograph teaches; None when no face is found in it."""
    networks = load_networks([])
    drawing = read_reference(REFERENCES / f"{name}.json").parts
    features, parts = [], []
    for version, drawn in versions(load_picture(path).numpy(), drawing):
        picture = analysed((np.ascontiguousarray(version) * 255).round().astype(np.uint8))
        size = (picture.shape[1], picture.shape[0])
        small = cv2.resize(np.ascontiguousarray(drawn), size, interpolation=cv2.INTER_NEAREST)
        for person in find_persons(networks, picture):
            for window in windows_of(person) if person.face is not None else ():
                view = View.of(picture, person, window)
                shape = (view.mask.shape[1], view.mask.shape[0])
                truth = cv2.resize(small[window], shape, interpolation=cv2.INTER_NEAREST)
                known = np.flatnonzero((view.mask > 0.5) & (truth > 0) & (truth <= len(PARTS)))
                if len(known) < 200:
                    continue
                layers = view.features()
                near_head = (layers[0] < 2) & (layers[1] > -1) & (layers[1] < 2.5)  # across, down
                chance = np.where(near_head.ravel()[known], 1.0, 0.35)
                count = min(len(known), PIXELS)
                chosen = generator.choice(known, count, replace=False, p=chance / chance.sum())
                features.append(layers.reshape(len(layers), -1)[:, chosen].T)
                parts.append(truth.ravel()[chosen].astype(np.int64) - 1)
    if not features:
        return None
    return Sample(
        torch.from_numpy(np.concatenate(features)), torch.from_numpy(np.concatenate(parts)), len(features)
    )


def fit(samples: Sequence[Sample], count: int) -> dict[str, Tensor]:
    """The networks, as `parts.fitted_networks` describes them."""
    features = torch.cat([sample.features for sample in samples])
    parts = torch.cat([sample.parts for sample in samples])
    # a group of five counts more than a portrait, but not five times
    weight = torch.cat([torch.full((len(s.parts),), s.persons**0.5 / len(s.parts)) for s in samples])
    mean, scale = features.mean(0), features.std(0) + 0.05
    inputs, weight = (features - mean) / scale, weight / weight.mean()
    nets = [_fit_one(inputs, parts, weight, seed) for seed in range(count)]
    fitted = {"mean": mean, "scale": scale}
    for index in (1, 2, 3):
        layers = [[m for m in net if isinstance(m, nn.Linear)][index - 1] for net in nets]
        fitted[f"weight_{index}"] = torch.stack([layer.weight.detach().T for layer in layers]).contiguous()
        fitted[f"bias_{index}"] = torch.stack([layer.bias.detach() for layer in layers])
    return fitted


def _fit_one(inputs: Tensor, parts: Tensor, weight: Tensor, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN, len(PARTS)),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=DECAY)
    steps = EPOCHS * len(inputs) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    criterion = nn.CrossEntropyLoss(torch.tensor(CLASS_WEIGHT), reduction="none", label_smoothing=SMOOTHING)
    for _ in range(steps):
        chosen = torch.randint(0, len(inputs), (BATCH,))
        noisy = inputs[chosen] + NOISE * torch.randn(BATCH, inputs.shape[1])
        loss = (criterion(net(noisy), parts[chosen]) * weight[chosen]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def told_apart(fitted: Mapping[str, Tensor], sample: Sample) -> list[float]:
    """Intersection over union of each part over the sample's pixels; NaN for a part that is hardly there."""
    x = ((sample.features - fitted["mean"]) / fitted["scale"]).expand(len(fitted["bias_1"]), -1, -1)
    for index in (1, 2, 3):
        x = torch.baddbmm(fitted[f"bias_{index}"][:, None], x, fitted[f"weight_{index}"])
        x = x.relu() if index < 3 else x.softmax(-1)
    found = x.mean(0).argmax(-1)
    result = []
    for part in range(len(PARTS)):
        here, seen = sample.parts == part, found == part
        known = here.float().mean() > 0.01
        result.append(float((here & seen).sum() / (here | seen).sum()) if known else float("nan"))
    return result


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="cross-validate instead of writing the file")
    options = parser.parse_args()
    files, generator = provide(), np.random.default_rng(0)
    samples: dict[str, Sample] = {}
    for photograph in PHOTOGRAPHS:
        if not photograph.held_out:
            sample = collect(photograph.name, files[photograph.name], generator)
            if sample is not None:
                samples[photograph.name] = sample
    if not options.check:
        fitted = fit(list(samples.values()), NETWORKS)
        write_atomically(FITTED, lambda temporary: save_file(fitted, temporary))
        print(f"{FITTED}: fitted to {len(samples)} photographs")
        return 0
    names, rows = list(samples), {}
    for fold in range(FOLDS):
        left_out = names[fold::FOLDS]
        fitted = fit([samples[name] for name in names if name not in left_out], 1)
        rows.update({name: told_apart(fitted, samples[name]) for name in left_out})
    print(f"{'picture':<24}" + "".join(f"{part:>10}" for part in PARTS))
    for name in names:
        print(f"{name:<24}" + "".join(f"{value:10.3f}" for value in rows[name]))
    means = np.nanmean(np.array(list(rows.values())), 0)
    print(f"{'mean':<24}" + "".join(f"{value:10.3f}" for value in means))
    return 0


if __name__ == "__main__":
    sys.exit(main())
