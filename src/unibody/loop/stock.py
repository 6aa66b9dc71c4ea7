"""Which parts of a cause lie in stock, not yet built in: what a hold must reach besides the cars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from unibody.loop.frames import Frames, rows
from unibody.loop.members import meets

COLUMNS: dict[str, pl.DataType] = {
    **dict.fromkeys(("site", "part_number", "lot", "supplier"), pl.String()),
    **dict.fromkeys(("delivered", "counted", "left"), pl.Float64()),
}


def in_stock(
    frames: Frames, conditions: Mapping[str, Any], fleet: pl.DataFrame, as_of: datetime
) -> pl.DataFrame:
    """Parts of a cause at each site: site, part_number, lot, supplier, delivered, counted, left.

    Only a cause that names a lot or a supplier of a part has such parts. `delivered` is what arrived of it at the site,
    `counted` the part number's last count there (whatever lot), `left` what may still lie there: at most both of them,
    and at most what was delivered anywhere and is in none of the `fleet`'s cars (one part a car). Takes frames of
    part_installed, delivery, stock; what one does not say is null.
    """
    found = next(((n, w) for n, w in conditions.items() if n.endswith((".lot", ".supplier")) and w), None)
    if found is None or not found[0].startswith("part."):
        return pl.DataFrame(schema=COLUMNS)
    name, value = found
    kind = name.rpartition(".")[2]
    position = name.removeprefix("part.").removesuffix(f".{kind}").rpartition("/")[2]
    installed = rows(frames, "part_installed").filter(position=position)
    part = pl.col("part_number").is_in(
        installed.filter(pl.col(kind) == value)["part_number"].unique().to_list()
    )
    known = pl.col("known_at") <= as_of
    came = (
        rows(frames, "delivery")
        .filter(known, pl.col("arrived_at") <= as_of, pl.col(kind) == value, part)
        .group_by("site", "part_number", "lot", "supplier")
        .agg(delivered=pl.col("quantity").sum())
    )
    counts = (
        rows(frames, "stock")
        .filter(known, pl.col("counted_at") <= as_of, part)
        .sort("counted_at")
        .group_by("site", "part_number")
        .agg(counted=pl.col("quantity").last())
    )
    both = came.join(counts, on=["site", "part_number"], how="left")
    if not came.height:  # no delivery says where it came: wherever the part number lies
        named = {"lot": None, "supplier": None, "delivered": None} | {kind: value}
        both = counts.filter(pl.col("counted") > 0).with_columns(
            pl.lit(v, COLUMNS[n]).alias(n) for n, v in named.items()
        )
    built_in = int(meets(fleet, {name: value}).sum())
    spare = max(float(came["delivered"].sum()) - built_in, 0.0) if came.height else None
    left = pl.min_horizontal("delivered", "counted", pl.lit(spare, pl.Float64)).clip(0.0)
    return both.with_columns(left=left).select(*COLUMNS).sort("site", "part_number", "lot", nulls_last=True)
