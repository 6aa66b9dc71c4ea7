"""Sheets: one sheet of an .xlsx, .xlsb, .xls or .ods workbook; every cell comes as text.

Options: sheet (its name; "" for the first), header_row (1 is the first row; 0: no row names the columns), columns
(names in place of the header's). Numbers come as the digits that name them exactly (5, not 5.0; 0.1), dates as
2024-03-31, times as 2024-03-31T08:00:00, truth values as true and false, an error as the text it shows. Rows without
any value are no records.
"""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from unibody.dialects.readers import Batch, Limits, only, still_written
from unibody.errors import FormatError, nearest

_OPTIONS: dict[str, Any] = {"sheet": "", "header_row": 1, "columns": []}
_UNPACKED_MAX = 1_000_000_000  # bytes; a workbook is in memory as a whole


def read(path: Path, options: Mapping[str, Any], start: int, limits: Limits) -> Iterator[Batch]:
    """Rows of one sheet.

    Raises FormatError where the file is no workbook, unpacks too far, has no such sheet, or names a column twice.
    """
    o = only(options, _OPTIONS, str(path))
    _bounded(path, limits)
    rows = _rows(path, o["sheet"], limits)
    names = _names(path, rows, o)
    body = [r for r in rows[o["header_row"] :] if any(c != "" for c in r)]
    width = max([len(names), *map(len, body)])
    names += [f"column_{i}" for i in range(len(names) + 1, width + 1)]
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise FormatError(f"{path}: row {o['header_row']} names {', '.join(map(repr, twice))} more than once")
    for first in range(start, max(len(body), start + 1), limits.batch_rows):
        part = [
            [text(c) for c in r] + [""] * (width - len(r)) for r in body[first : first + limits.batch_rows]
        ]
        data = {n: pl.Series([r[i] for r in part], dtype=pl.String) for i, n in enumerate(names)}
        yield Batch(pl.DataFrame({**data, "record": pl.int_range(first, first + len(part), eager=True)}))


def _names(path: Path, rows: list[list[Any]], o: Mapping[str, Any]) -> list[str]:
    at = o["header_row"]
    if o["columns"]:
        return list(map(str, o["columns"]))
    if at == 0:
        return []
    if len(rows) < at or not any(c != "" for c in rows[at - 1]):
        raise FormatError(
            f"{path}: row {at} is empty; it should name the columns (say which with read.header_row)"
        )
    names = [text(c).strip() or f"column_{i}" for i, c in enumerate(rows[at - 1], 1)]
    return ["record_" if n == "record" else n for n in names]


def text(cell: Any) -> str:
    """A cell as text.

    >>> text(5.0), text(0.1), text(True), text(dt.datetime(2024, 3, 31)), text(dt.timedelta(hours=25))
    ('5', '0.1', 'true', '2024-03-31T00:00:00', 'PT90000S')
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        # a sheet's numbers are floats: one that is whole and exact is shown without a point
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, (dt.date, dt.time)):
        return cell.isoformat()
    if isinstance(cell, dt.timedelta):
        seconds = cell.total_seconds()
        return f"PT{int(seconds) if seconds.is_integer() else seconds}S"
    return str(cell)


def _bounded(path: Path, limits: Limits) -> None:
    """Unpack every member once and look: an archive's own word for its size may be a lie."""
    if not zipfile.is_zipfile(path):
        return  # .xls packs nothing
    most = min(limits.bytes_max, _UNPACKED_MAX, max(path.stat().st_size, 1_000_000) * limits.ratio_max)
    seen = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as f:
                    while block := f.read(1 << 20):
                        seen += len(block)
                        if seen > most:
                            raise FormatError(
                                f"{path}: unpacks to more than {most:,} bytes, too much for a workbook"
                            )
    except FormatError:
        raise
    except Exception as e:  # zipfile lets zlib.error, struct.error, NotImplementedError and more through
        raise FormatError(f"{path}: is no whole workbook: {e}") from e


def _rows(path: Path, sheet: str, limits: Limits) -> list[list[Any]]:
    import python_calamine

    if path.stat().st_size > limits.bytes_max:
        raise FormatError(f"{path}: is larger than {limits.bytes_max:,} bytes")
    try:
        book = python_calamine.load_workbook(str(path))
        names = book.sheet_names
        if sheet and sheet not in names:
            raise FormatError(f"{path}: has no sheet {sheet!r}; {nearest(sheet, names)}")
        if not names:
            raise FormatError(f"{path}: has no sheet")
        found = book.get_sheet_by_name(sheet or names[0])
        rows: list[list[Any]] = found.to_python(skip_empty_area=False)
    except FormatError:
        raise
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as e:  # calamine's errors, and the panics of its Rust, which are no Exception
        hint = " (is it still being written?)" if still_written(path, limits) else ""
        raise FormatError(f"{path}: is no workbook that can be read{hint}: {e}") from e
    return rows
