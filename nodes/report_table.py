"""The tables of the report nodes as the report panel draws them (web/report_panel.js)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..semantic_focus.training.diagnostics import DryRun, SigmaBin
from ..semantic_focus.training.evaluation import RegionChange

TABLE = "semantic_focus_table"
"""Key of the nodes' tables in their output to the editor."""


def _table(
    name: str,
    columns: Mapping[str, str],
    rows: Mapping[str, Sequence[float]],
    note: tuple[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """What the report panel draws (web/report_panel.js).

    Args:
        name: of the table, by which the panel knows its words.
        columns: name -> "share", "change", "number", "weight" or "count".
        rows: region -> one value per column; NaN is left empty.
        note: a sentence below, by its name, with its values.
    """
    return {
        "name": name,
        "columns": [{"name": column, "form": form} for column, form in columns.items()],
        "rows": [
            {"region": region, "values": [None if value != value else value for value in values]}
            for region, values in rows.items()
        ],
        "note": None if note is None else {"name": note[0], "values": dict(note[1])},
    }


def change_table(rows: Sequence[RegionChange]) -> dict[str, Any]:
    """What a LoRA changed where; regions that do not occur are left out."""
    columns = {"cover": "share", "before": "number", "after": "number", "change": "change", "drift": "number"}
    values = {
        row.region: (
            row.coverage,
            row.error_before,
            row.error_after,
            row.error_after / row.error_before - 1 if row.error_before else math.nan,
            row.drift,
        )
        for row in rows
        if row.error_before == row.error_before
    }
    return _table("change", columns, values)


def gradient_table(found: DryRun) -> dict[str, Any]:
    """Where the gradient lies before the first step, and whether the masks are used."""
    columns = {"weight": "weight", "pictures": "count", "cover": "share", "gradient": "share"}
    values = {row.region: (row.weight, row.pictures, row.coverage, row.gradient_share) for row in found.rows}
    if math.isnan(found.leak):
        return _table("gradient", columns, values, ("everywhere", {}))
    return _table("gradient", columns, values, ("leak" if found.leak else "used", {"leak": found.leak}))


def noise_table(bins: Sequence[SigmaBin]) -> dict[str, Any]:
    """Errors by region and noise level."""
    edges = sorted({(item.low, item.high) for item in bins})
    errors = {(item.region, item.low, item.high): item.error for item in bins}
    regions = dict.fromkeys(item.region for item in bins)
    values = {region: [errors.get((region, *edge), math.nan) for edge in edges] for region in regions}
    return _table("noise", {f"{low:g}–{high:g}": "number" for low, high in edges}, values)
