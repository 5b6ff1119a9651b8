"""The ablation's table and pictures."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from benchmarks.ablation_measure import SIGMAS, Errors, Result
from benchmarks.ablation_objectives import BASELINE, WITH, WITHOUT, Variant

BAR = (0.10, 0.70)
"""Drift and face error, as shares of the baseline's, that were asked for."""
NO_PRIOR = "region MSE + cosine, no prior"
SHOWN = ("base model", BASELINE, NO_PRIOR, f"{WITH} 4")
SHOWN_SAMPLES = 5
ALONE = ("MSE", "masked MSE, floor 0.1", NO_PRIOR)
IN_DETAIL = ("base model", BASELINE, *ALONE[1:], f"{WITHOUT} 4", f"{WITH} 4")
COLOURS = {WITHOUT: "tab:blue", WITH: "tab:orange"}


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def ratios(
    results: Iterable[Result],
    variants: Mapping[str, Variant],
    of: Callable[[Errors], Iterable[float]],
    held_out: bool = False,
) -> dict[str, list[float]]:
    """Variant -> one ratio to its baseline for each person and seed of which both are there.

    Args:
        of: the numbers that are averaged, then divided.
    """
    values = {
        (r.subject, r.seed, r.variant): mean(of(r.held_out if held_out else r.trained)) for r in results
    }
    found: dict[str, list[float]] = {}
    for (subject, seed, name), value in values.items():
        baseline = values.get((subject, seed, variants[name].baseline))
        if baseline is not None:
            found.setdefault(name, []).append(value / baseline)
    return found


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.3f} ± {deviation:.3f}"


def table(results: Iterable[Result], variants: Mapping[str, Variant]) -> str:
    """Two tables in Markdown: the comparison, and errors by noise level of the variants `IN_DETAIL`."""
    results = list(results)
    names = [name for name in variants if any(r.variant == name for r in results)]
    face = ratios(results, variants, lambda e: e.face)
    drift = ratios(results, variants, lambda e: e.drift)
    face_new = ratios(results, variants, lambda e: e.face, held_out=True)
    drift_new = ratios(results, variants, lambda e: e.drift, held_out=True)
    lines = [
        "| objective | face error | free-region drift | face, held-out framings | drift, held-out framings "
        "| diversity | change of samples |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        mine = [r for r in results if r.variant == name]
        diversity = mean(r.samples.diversity / r.samples.base_diversity for r in mine)
        change = mean(r.samples.change for r in mine)
        columns = (spread(face[name]), spread(drift[name]), spread(face_new[name]), spread(drift_new[name]))
        lines.append(f"| {name} | {' | '.join(columns)} | {diversity:.2f} | {change:.3f} |")
    head = " | ".join(f"σ {sigma:g}" for sigma in SIGMAS)
    lines += [
        "",
        f"| velocity errors | region | {head} | mean |",
        "| --- | --- |" + " --- |" * (len(SIGMAS) + 1),
    ]
    for name in (name for name in names if name in IN_DETAIL):
        mine = [r.trained for r in results if r.variant == name]
        for region, of in (
            ("face", lambda e: e.face),
            ("rest", lambda e: e.rest),
            ("drift", lambda e: e.drift),
        ):
            bins = [mean(column) for column in zip(*(of(errors) for errors in mine), strict=True)]
            numbers = " | ".join(f"{value:.3f}" for value in (*bins, mean(bins)))
            lines.append(f"| {name if region == 'face' else ''} | {region} | {numbers} |")
    return "\n".join(lines)


def draw_fronts(results: Iterable[Result], variants: Mapping[str, Variant], file: Path) -> None:
    """Face error over drift, as shares of the baseline's; lines join what differs in the prior alone."""
    results = list(results)
    face = ratios(results, variants, lambda e: e.face)
    drift = ratios(results, variants, lambda e: e.drift)
    figure, axes = plt.subplots(figsize=(8.5, 5.2), dpi=130)
    axes.fill_between((0.01, BAR[0]), 0.0, BAR[1], color="tab:green", alpha=0.15, label="asked for")
    for front, colour in COLOURS.items():
        names = [name for name in face if variants[name].front == front]
        names.sort(key=lambda name: mean(drift[name]))
        x, y = ([mean(values[name]) for name in names] for values in (drift, face))
        wide, high = ([_deviation(values[name]) for name in names] for values in (drift, face))
        axes.errorbar(
            x, y, xerr=wide, yerr=high, fmt="o-", capsize=2, elinewidth=0.7, color=colour, label=front
        )
        for name, left, top in zip(names, x, y, strict=True):
            offset = (5, 7) if front == WITHOUT else (-9, -13)
            axes.annotate(
                name.rsplit(" ", 1)[1], (left, top), offset, textcoords="offset points", color=colour
            )
    for name in (BASELINE, *ALONE):
        if name in face:
            left, top = mean(drift[name]), mean(face[name])
            axes.errorbar(
                left, top, xerr=_deviation(drift[name]), yerr=_deviation(face[name]), fmt="k.", elinewidth=0.7
            )
            offset = (-5, -11) if name == "MSE" else (-5, 5)
            axes.annotate(name, (left, top), offset, textcoords="offset points", fontsize=8, ha="right")
    axes.set(
        xscale="log", xlim=(0.03, 4), ylim=(0.6, 1.1),
        xlabel=f"drift of the free region, share of {BASELINE} (log)",
        ylabel=f"face error, share of {BASELINE}",
    )  # fmt: skip
    axes.set_title(
        "Numbers: weight of the prior. Bars: standard deviation over persons and seeds", fontsize=9
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower left", fontsize=8)
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def draw_samples(strips: Mapping[str, Mapping[str, Path]], file: Path) -> None:
    """For each person one row of pictures per variant, from the same noise."""
    rows = [(subject, name, path) for subject, paths in strips.items() for name, path in paths.items()]
    figure, axes = plt.subplots(len(rows), 1, figsize=(8.6, 0.86 * len(rows)), dpi=110)
    for axis, (subject, name, path) in zip(np.atleast_1d(axes), rows, strict=True):
        axis.imshow(np.array(Image.open(path)))
        axis.set_axis_off()
        axis.text(-20, 64, f"{subject}\n{name}", fontsize=6, ha="right", va="center")
    figure.subplots_adjust(left=0.2, right=0.995, top=0.998, bottom=0.002, hspace=0.04)
    figure.savefig(file, pil_kwargs={"quality": 85})
    plt.close(figure)
