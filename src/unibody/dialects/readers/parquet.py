"""Parquet: columns as the file types them, a batch at a time, never row by row.

Options: columns (read only these). A struct gives a column a field (`quantity.value`), lists stay lists, dictionaries
become text. Records are the file's rows, in its order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from unibody.dialects.readers import Batch, Limits, only, still_written
from unibody.errors import FormatError, nearest

_OPTIONS: dict[str, Any] = {"columns": []}
_BROKEN = (pa.ArrowException, OSError, ValueError)


def read(path: Path, options: Mapping[str, Any], start: int, limits: Limits) -> Iterator[Batch]:
    """Rows of a Parquet file; row groups that end before `start` are not read.

    Raises FormatError where the file has no footer, a page of it is broken, or it unpacks too far.
    """
    o = only(options, _OPTIONS, str(path))
    record = 0
    try:
        file = pq.ParquetFile(path, memory_map=False)
    except _BROKEN as e:
        _no_footer(path, e, limits)
    with file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        _bounded(path, groups, limits)
        for name in o["columns"]:
            if name not in file.schema_arrow.names:
                raise FormatError(f"{path}: has no column {name!r}; {nearest(name, file.schema_arrow.names)}")
        chosen = [i for i in range(len(groups)) if sum(g.num_rows for g in groups[: i + 1]) > start]
        record = sum(g.num_rows for g in groups[: chosen[0]]) if chosen else file.metadata.num_rows
        read = file.iter_batches(
            limits.batch_rows, row_groups=chosen, columns=o["columns"] or None, use_threads=True
        )
        last = file.metadata.num_rows
        if record >= last:
            yield Batch(_frame(pa.RecordBatch.from_pylist([], schema=file.schema_arrow), last))
        while record < last:
            try:
                batch = next(read)
                batch.validate(full=True)  # text that is no UTF-8 would break whoever looks at it later
                frame = _frame(batch, record)
            except StopIteration:
                raise FormatError(f"{path}: ends at row {record} of {last}") from None
            except (KeyboardInterrupt, SystemExit, MemoryError):
                raise
            except (
                BaseException
            ) as e:  # Arrow's errors, and the panics of polars' Rust, which are no Exception
                wrong = (str(e).splitlines() or [type(e).__name__])[0]
                raise FormatError(f"{path}: record {record} and on cannot be read: {wrong}") from e
            record += batch.num_rows
            if record > start:
                yield Batch(
                    frame.filter(pl.col("record") >= start) if record - batch.num_rows < start else frame
                )


def _no_footer(path: Path, e: Exception, limits: Limits) -> None:
    if isinstance(e, FileNotFoundError):
        raise e
    hint = (
        ": truncated or still being written"
        if still_written(path, limits) or path.stat().st_size
        else ": is empty"
    )
    raise FormatError(f"{path}: has no Parquet footer{hint} ({str(e).splitlines()[0]})") from e


def _bounded(path: Path, groups: list[Any], limits: Limits) -> None:
    """Refuse a file that says of itself that it unpacks too far."""
    unpacked = sum(g.total_byte_size for g in groups)
    most = min(limits.bytes_max, max(path.stat().st_size, 1_000_000) * limits.ratio_max)
    if unpacked > most:
        raise FormatError(
            f"{path}: unpacks to more than {most:,} bytes; raise file_bytes_max or unpack_ratio_max in unibody.toml "
            "if that is right"
        )


def _frame(batch: pa.RecordBatch, record: int) -> pl.DataFrame:
    """Arrow's columns as they are (no copy), structs as one column a field, and the record numbers."""
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Struct):
            fields = [f"{name}.{f.name}" for f in dtype.fields]
            frame = frame.with_columns(pl.col(name).struct.rename_fields(fields)).unnest(name)
    words = [n for n, d in frame.schema.items() if isinstance(d, (pl.Categorical, pl.Enum))]
    if words:
        frame = frame.with_columns(pl.col(words).cast(pl.String))
    if "record" in frame.columns:
        frame = frame.rename({"record": "record_"})
    return frame.with_columns(pl.int_range(record, record + batch.num_rows, dtype=pl.Int64).alias("record"))
