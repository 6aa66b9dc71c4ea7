"""Raw records as the quarantine keeps them: as JSON of their raw columns, and back again."""

from __future__ import annotations

import json
from typing import Any

import polars as pl


def kept(frame: pl.DataFrame, faults: pl.DataFrame) -> pl.DataFrame:
    """The records that have a fault, one row each: record, rule, raw.

    `raw` is JSON of the raw columns: all as text, times in ISO 8601, bytes as {"hex": ...}. A record of several rows
    (a frame on the bus has a row a value) is a list of them.

    >>> frame = pl.DataFrame({"record": [4, 5, 5], "signal": ["A", "B", "C"]})
    >>> kept(frame, pl.DataFrame({"record": [5], "rule": ["too fast"]})).row(0)
    (5, 'too fast', '[{"signal":"B"}, {"signal":"C"}]')
    """
    shown = [_shown(n, d) for n, d in frame.schema.items() if n != "record"]
    faulty = frame.join(faults, on="record", maintain_order="left")
    rows = faulty.select("record", "rule", raw=pl.struct(shown).struct.json_encode())
    several = pl.format("[{}]", pl.col("raw").str.join(", "))
    return rows.group_by("record", maintain_order=True).agg(
        pl.col("rule").first(), raw=pl.when(pl.len() > 1).then(several).otherwise(pl.col("raw").first())
    )


def _shown(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Binary:
        return pl.struct(hex=pl.col(name).bin.encode("hex")).alias(name)
    if isinstance(dtype, pl.Datetime):
        return pl.col(name).dt.to_string("iso:strict")
    return pl.col(name) if dtype.is_nested() else pl.col(name).cast(pl.String)


def again(records: pl.Series, raw: pl.Series) -> pl.DataFrame:
    """The raw columns of records that were `kept`, with their `record` number, as the mapping takes them.

    >>> again(pl.Series([5]), pl.Series(['[{"signal":"B"}, {"signal":"C"}]'])).rows()
    [('B', 5), ('C', 5)]
    """
    rows: list[dict[str, Any]] = []
    for record, text in zip(records, raw, strict=True):
        stated = json.loads(text)
        for row in stated if isinstance(stated, list) else [stated]:
            rows.append({k: _value(v) for k, v in row.items()} | {"record": record})
    frame = pl.DataFrame(rows, infer_schema_length=None)
    empty = [n for n, d in frame.schema.items() if d == pl.Null]
    return frame.with_columns(pl.col(empty).cast(pl.String))


def _value(value: Any) -> Any:
    if isinstance(value, dict) and list(value) == ["hex"]:
        return None if value["hex"] is None else bytes.fromhex(value["hex"])
    return value
