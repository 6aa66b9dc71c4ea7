"""Look at reports of which nobody knows how many cars stand behind them, such as public complaints."""

from __future__ import annotations

import polars as pl

#: Said with every result: a share of complaints is not a rate of failures.
EXPOSURE = "unknown: a component's share of a model's reports against its share of all (disproportionality)"
REPORTS_MIN = 3


def disproportionate(loose: pl.DataFrame, *, within: tuple[str, ...] = ()) -> pl.DataFrame:
    """What a brand's model is reported for more than its share of all reports explains, surest first.

    `loose` as `Evidence.loose`, or any reports with columns brand, model, symptom. Returns brand, model, symptom,
    observed, expected (reports), ic, ic025, ic975 (bits: 1 is twice as many; see `methods.disproportion`), called (the
    interval lies above 0 and there are at least three reports) and exposure, which says in words that it is not known.
    A wave in the media looks the same from here.

    >>> loose = pl.DataFrame({"brand": ["b"] * 60, "model": ["A"] * 20 + ["B"] * 40, "symptom": ["seat"] * 15 + ["door"] * 45})
    >>> disproportionate(loose).select("model", "symptom", "observed", "called").row(0)
    ('A', 'seat', 15.0, True)
    """
    # the method lives beside this room and needs scipy: loaded where it is used
    from unibody.methods.disproportion import disproportion

    reports = loose.drop_nulls(["brand", "symptom"]).with_columns(
        unit=pl.struct("brand", pl.col("model").fill_null("")).rank("dense").cast(pl.String)
    )
    counts = reports.group_by("unit", "symptom", *within).len("reports")
    found = disproportion(counts, "unit", "symptom", "reports", within=within)
    names = reports.select("unit", "brand", "model").unique("unit")
    return (
        found.join(names, on="unit", maintain_order="left")
        .with_columns(
            called=(pl.col("ic025") > 0) & (pl.col("observed") >= REPORTS_MIN), exposure=pl.lit(EXPOSURE)
        )
        .select(
            "brand", "model", "symptom", "observed", "expected", "ic", "ic025", "ic975", "called", "exposure"
        )
    )
