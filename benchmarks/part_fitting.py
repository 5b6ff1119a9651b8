"""How the small networks of the embedded segmenter are fitted to pixels of drawn pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.part_samples import AROUND, Components, Rows
from semantic_focus.segmenters.embedded.classifier import DEEP, PARTS, PLACE

CLASS_WEIGHT = (1.0, 1.3, 1.0, 1.3)


@dataclass(frozen=True)
class Settings:
    """Chosen by cross-validation. `noise` is in standard deviations of each input; `input_dropout` and
    `dropout` are shares of inputs and of hidden units; `missing` is how often single sources are left out,
    `alone` how often all but the whole person are.
    """

    networks: int = 3
    hidden: int = 32
    epochs: float = 8
    batch: int = 4096
    rate: float = 4e-3
    decay: float = 1e-2
    noise: float = 0.5
    dropout: float = 0.1
    input_dropout: float = 0.3
    missing: float = 0.1
    alone: float = 0.1
    smoothing: float = 0.02


@dataclass(frozen=True)
class Table:
    """Inputs Float16[N, F] in standard deviations (what is missing: 0), parts Int[N], weights Float[N];
    `mean` and `scale` Float[F] of the inputs, and which columns each source has.
    """

    inputs: Tensor
    parts: Tensor
    weights: Tensor
    mean: Tensor
    scale: Tensor
    columns: Mapping[str, slice]


Taught = tuple[Sequence[Rows], Sequence[Rows]]
"""What one picture teaches: pixels of persons, and pixels around them."""


def fit(pictures: Sequence[Taught], basis: Components, settings: Settings) -> dict[str, Tensor]:
    """The networks, as `classifier.fitted_networks` describes them."""
    table = tabulated([persons for persons, _ in pictures])
    nets = [fit_one(table, settings, seed) for seed in range(settings.networks)]
    presence = fit_one(presence_table(pictures, table), settings, 0, (1.0, 1.0))
    return folded(nets, presence, table, basis)


def inputs_of(rows: Rows, columns: Mapping[str, slice]) -> np.ndarray:
    """Float16[N, F], NaN where a source is missing."""
    width = max(column.stop for column in columns.values())
    inputs = np.full((len(rows.parts), width), np.nan, np.float16)
    if rows.place is not None:
        inputs[:, columns[PLACE]] = rows.place
    for square, values in rows.squares.items():
        inputs[:, columns[square]] = values
    return inputs


def tabulated(pictures: Sequence[Sequence[Rows]]) -> Table:
    """All pixels in one table. A group of five counts more than a portrait, but not five times."""
    every = [rows for picture in pictures for rows in picture]
    place, squares = next((rows.place, rows.squares) for rows in every if rows.place is not None)
    columns, at = {}, 0
    for name, values in {PLACE: place, **squares}.items():
        columns[name] = slice(at, at + values.shape[1])
        at += values.shape[1]
    weights = [
        np.full(
            sum(len(r.parts) for r in picture),
            len({r.person for r in picture}) ** 0.5 / sum(len(r.parts) for r in picture),
        )
        for picture in pictures
    ]
    inputs = torch.from_numpy(np.concatenate([inputs_of(rows, columns) for rows in every]))
    mean, scale = torch.zeros(at), torch.ones(at)
    for name, column in columns.items():
        known = inputs[:: max(1, len(inputs) // 50000), column].float()
        known = known[~known.isnan().any(1)]
        if name == PLACE:  # components of activations are around 0 already
            mean[column] = known.mean(0)
        scale[column] = (known - mean[column]).square().mean(0).sqrt() + 0.05
    for square in DEEP:
        scale[columns[square].stop - 1] = 1  # how far inside, 0..1
    for part in inputs.split(1 << 15):
        part.copy_(((part.float() - mean) / scale).nan_to_num(0))
    weight = torch.from_numpy(np.concatenate(weights)).float()
    parts = torch.from_numpy(np.concatenate([rows.parts for rows in every]).astype(np.int64))
    return Table(inputs, parts, weight / weight.mean(), mean, scale, columns)


def presence_table(pictures: Sequence[Taught], parts: Table) -> Table:
    """Pixels of persons (1) and around them (0): activations, in the standard deviations of `parts`."""
    inputs, there, weights = [], [], []
    for picture in pictures:
        for is_there, rows in enumerate(reversed(picture)):
            found = [inputs_of(r, parts.columns) for r in rows if r.version in AROUND]
            if not found:
                continue
            values = torch.from_numpy(np.concatenate(found)).float()
            values[:, parts.columns[PLACE]] = torch.nan
            inputs.append(((values - parts.mean) / parts.scale).nan_to_num(0).half())
            there.append(torch.full((len(values),), is_there))
            weights.append(torch.full((len(values),), len({r.person for r in rows}) ** 0.5 / len(values)))
    weight = torch.cat(weights)
    return replace(parts, inputs=torch.cat(inputs), parts=torch.cat(there), weights=weight / weight.mean())


def fit_one(
    table: Table, settings: Settings, seed: int, class_weight: Sequence[float] = CLASS_WEIGHT
) -> nn.Sequential:
    """One network; the same seed gives the same one."""
    generator = torch.manual_seed(seed)
    count, width = table.inputs.shape
    net = nn.Sequential(
        nn.Linear(width, settings.hidden), nn.ReLU(), nn.Dropout(settings.dropout),
        nn.Linear(settings.hidden, settings.hidden), nn.ReLU(), nn.Dropout(settings.dropout),
        nn.Linear(settings.hidden, len(class_weight)),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=settings.decay)
    steps = int(settings.epochs * count // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps)
    criterion = nn.CrossEntropyLoss(
        torch.tensor(class_weight), reduction="none", label_smoothing=settings.smoothing
    )
    # drawn once, then read from random places: making it anew costs more than the network
    pool = 4 * settings.batch
    noise = settings.noise * torch.randn(pool, width, generator=generator)
    keep = (torch.rand(pool, width, generator=generator) > settings.input_dropout).float()
    keep /= 1 - settings.input_dropout
    for _ in range(steps):
        chosen = torch.randint(0, count, (settings.batch,), generator=generator)
        first, second = torch.randint(0, pool - settings.batch, (2,), generator=generator).tolist()
        inputs = table.inputs[chosen].float().add_(noise[first : first + settings.batch])
        inputs.mul_(keep[second : second + settings.batch])
        _leave_out(inputs, table.columns, settings, generator)
        loss = (criterion(net(inputs), table.parts[chosen]) * table.weights[chosen]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def _leave_out(
    inputs: Tensor, columns: Mapping[str, slice], settings: Settings, generator: torch.Generator
) -> None:
    """Set whole sources to 0 for some rows: all but the whole person, all that is deep, or the hand-made."""
    chance = torch.rand(len(inputs), generator=generator)
    alone = chance < settings.alone
    shallow = (chance > 0.4) & (chance < 0.4 + settings.missing)
    without_place = (chance > 0.7) & (chance < 0.7 + settings.missing)
    inputs[:, columns[PLACE]] *= ~(alone | without_place)[:, None]
    inputs[:, columns["whole"]] *= ~shallow[:, None]
    for square in ("head", "face"):
        inputs[:, columns[square]] *= ~(alone | shallow)[:, None]


def folded(
    nets: Sequence[nn.Sequential], presence: nn.Sequential, table: Table, basis: Components
) -> dict[str, Tensor]:
    """Networks over activations instead of their components and standard deviations."""
    layers = [[module for module in net if isinstance(module, nn.Linear)] for net in (*nets, presence)]
    first = torch.cat([layer[0].weight.detach().T for layer in layers], 1) / table.scale[:, None]
    first[table.columns[PLACE], -layers[-1][0].out_features :] = 0  # presence was not fitted to places
    place = first[table.columns[PLACE]]
    fitted = {
        "place": place,
        "place/bias": -(table.mean[table.columns[PLACE]] @ place),
        "bias_1": torch.cat([layer[0].bias.detach() for layer in layers]),
    }
    for square in DEEP:
        at, bias = table.columns[square].start, torch.zeros(first.shape[1])
        for key, weight in basis[square].items():
            mine = first[at : at + weight.shape[1]]
            fitted[f"{square}/{key}"] = weight[:-1] @ mine
            bias += weight[-1] @ mine
            at += weight.shape[1]
        fitted[f"{square}/bias"], fitted[f"{square}/near"] = bias, first[at]
    for name, group in (("", layers[:-1]), ("presence/", layers[-1:])):
        for index in (1, 2):
            weights = [layer[index].weight.detach().T for layer in group]
            fitted[f"{name}weight_{index + 1}"] = torch.stack(weights)
            fitted[f"{name}bias_{index + 1}"] = torch.stack([layer[index].bias.detach() for layer in group])
    return {name: value.contiguous() for name, value in fitted.items()}


def told_apart(net: nn.Sequential, table: Table, rows: Sequence[Rows]) -> list[float]:
    """Intersection over union of each part over pixels; NaN for a part that is hardly there."""
    inputs = torch.from_numpy(np.concatenate([inputs_of(r, table.columns) for r in rows])).float()
    with torch.inference_mode():
        found = net(((inputs - table.mean) / table.scale).nan_to_num(0)).argmax(-1).numpy()
    parts, result = np.concatenate([r.parts for r in rows]), []
    for part in range(len(PARTS)):
        here, seen = parts == part, found == part
        known = here.mean() > 0.01
        result.append(float((here & seen).sum() / (here | seen).sum()) if known else float("nan"))
    return result
