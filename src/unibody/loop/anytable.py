"""Read anybody's table: CSV, TSV, Parquet or a sheet, packed or not, with its columns typed as a person would.

Delimiter, encoding and decimal comma are seen from the file. Text that is numbers, days or truth values all through
becomes that; 00417 stays a name. What was done is said in `Read.notes`.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from unibody.dialects.readers import Limits, opened, reader
from unibody.errors import FormatError, SetupError

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".xlsx", ".xls", ".xlsb", ".ods")
PACKED = (".gz", ".bz2", ".xz", ".zip")
BYTES_MAX, CELLS_MAX, COLUMNS_MAX, CELL_MAX = 2_000_000_000, 200_000_000, 5_000, 10_000
_EMPTY = ("", "null", "NULL", "nan", "NaN", "<NA>", "#N/A")
#: In a column that is numbers otherwise, these are missing values; elsewhere NA may be a market, and - a code.
_NO_NUMBER = ("NA", "N/A", "n/a", "None", "none", "-", "--", "?", ".", "inf", "-inf", "Inf", "-Inf")
_INT = r"^-?(?:0|[1-9]\d{0,17})$"
_FLOAT = r"^[+-]?(?:0|[1-9]\d{0,17}|)(?:\.\d*)?(?:[eE][+-]?\d{1,3})?$"
_COMMA = r"^[+-]?(?:0|[1-9]\d{0,2}(?:\.\d{3})+|[1-9]\d{0,17})(?:,\d+)?$"
_DAY = r"^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)? ?(?:Z|UTC|[+-]\d\d:?\d\d)?$"


@dataclass(frozen=True)
class Read:
    """A table as read, and what was done to read it."""

    frame: pl.DataFrame
    notes: tuple[str, ...] = ()


def read(path: Path, limits: Limits | None = None) -> Read:
    """Read a file by its name's ending.

    Raises SetupError where the ending is none of `SUFFIXES`, FormatError where the file is not what it says or too large.
    """
    if not path.is_file():
        raise SetupError(f"no file {path}")
    suffix = _suffix(path)
    limits = limits or Limits(batch_rows=1_000_000, bytes_max=BYTES_MAX, quiet_seconds=0)
    notes: list[str] = []
    if suffix in (".parquet", ".pq"):
        # text that is whole numbers stays text here: somebody chose so
        frame = _typed(_rows(path, "parquet", {}, limits, notes), False, notes, whole=False)
    elif suffix in (".xlsx", ".xls", ".xlsb", ".ods"):
        frame = _typed(_rows(path, "excel", {}, limits, notes), False, notes)
    else:
        encoding, delimiter = _sniffed(path, limits)
        if encoding not in ("utf-8", "utf-8-sig"):
            notes.append(f"read as {encoding}")
        options = {"delimiter": delimiter, "encoding": encoding}
        frame = _typed(_rows(path, "delimited", options, limits, notes), delimiter != ",", notes)
    if not frame.width or not frame.height:
        raise FormatError(
            f"{path.name}: has no rows; its first line should name the columns, each other one is a unit"
        )
    return Read(frame, tuple(notes))


def _suffix(path: Path) -> str:
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    suffix = Path(name).suffix
    if suffix not in SUFFIXES or (suffix not in (".csv", ".tsv", ".txt") and name != path.name.lower()):
        raise SetupError(
            f"{path.name}: should end in {', '.join(SUFFIXES)}; text may be packed as {', '.join(PACKED)}"
        )
    return suffix


def _rows(path: Path, kind: str, options: dict[str, str], limits: Limits, notes: list[str]) -> pl.DataFrame:
    found: list[pl.DataFrame] = []
    broken = cells = 0
    for batch in reader(kind, path.name)(path, options, 0, limits):
        found.append(batch.frame)
        broken += batch.broken.height
        cells += batch.frame.height * batch.frame.width
        if cells > CELLS_MAX or batch.frame.width > COLUMNS_MAX:
            raise FormatError(
                f"{path.name}: more than {CELLS_MAX:,} cells or {COLUMNS_MAX:,} columns; take a part of it"
            )
    if broken:
        notes.append(f"{broken:,} line(s) with too few or too many fields left out")
    frame = pl.concat(found, how="vertical_relaxed") if found else pl.DataFrame()
    frame = frame.drop("record", strict=False)
    return frame.rename({"record_": "record"}) if "record_" in frame.columns else frame


def _sniffed(path: Path, limits: Limits) -> tuple[str, str]:
    """Encoding and delimiter, from the first part of the file."""
    with opened(path, limits) as f:
        head = f.read(1 << 18)
    if not head.strip():
        raise FormatError(f"{path.name}: is empty; its first line should name the columns")
    encoding = "utf-8"
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            encoding = name
            break
    else:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
            # the whole file must be, not its head alone
            encoding = "utf-8" if _all_utf8(path, limits) else "cp1252"
        except UnicodeDecodeError:
            encoding = "cp1252"
    text = head.decode(encoding, errors="replace").lstrip("\ufeff")
    return encoding if encoding != "cp1252" else "latin-1" if b"\x81" in head else "cp1252", _delimiter(text)


def _all_utf8(path: Path, limits: Limits) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with opened(path, limits) as f:
            while block := f.read(1 << 22):
                decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


def _delimiter(text: str) -> str:
    """The one that parts the header into most fields, and the lines below into as many.

    >>> _delimiter("lot;torque\\nL1;38,5\\nL2;41,0\\n"), _delimiter('a,b\\n"x;y;z",1\\n')
    (';', ',')
    """
    lines = text.splitlines()[:50]
    lines = lines[:-1] if len(lines) > 2 and len(text) >= 1 << 18 else lines
    best, most = ",", (0.0, 0)
    for delimiter in (",", ";", "\t", "|"):
        try:
            rows = [r for r in csv.reader(lines, delimiter=delimiter) if r]
        except csv.Error:
            continue
        width = len(rows[0]) if rows else 1
        if width > 1:
            same = sum(len(r) == width for r in rows) / len(rows)
            if (round(same, 1), width) > most:
                best, most = delimiter, (round(same, 1), width)
    return best


def _typed(frame: pl.DataFrame, comma: bool, notes: list[str], whole: bool = True) -> pl.DataFrame:
    """Text columns as what they hold; `comma`: a comma may be the decimal one."""
    made: list[pl.Series] = []
    mended: dict[str, int] = {}
    for column in frame:
        if column.dtype != pl.String:
            made.append(column)
            continue
        text = column.str.strip_chars()
        text = pl.select(pl.when(~text.is_in(_EMPTY)).then(text)).to_series().alias(column.name)
        number = _number(text, comma, mended) if text.null_count() < len(text) else text
        made.append(number if whole or not number.dtype.is_integer() else text)
    mended = {c: n for c, n in mended.items() if pl.DataFrame(made)[c].dtype.is_numeric()}
    if mended:
        notes.append("no number, taken as missing: " + ", ".join(f"{n} in {c}" for c, n in mended.items()))
    for i, column in enumerate(made):
        if column.dtype == pl.String:
            made[i] = _truth_or_time(column)
    return pl.DataFrame(made)


def _number(text: pl.Series, comma: bool, mended: dict[str, int]) -> pl.Series:
    known = text.drop_nulls()
    rest = known.filter(~known.is_in(_NO_NUMBER)) if known.is_in(_NO_NUMBER).any() else known
    trial = rest.head(200)
    if not len(rest) or not (trial.str.contains(_FLOAT) | trial.str.contains(_COMMA)).mean():
        return text
    code = rest.str.contains(r"^0\d")
    if code.any():  # 00417 is a name
        return text
    # a stray word among many numbers is a missing value; among few it makes the column text
    most = 0 if len(rest) < 50 else len(rest) // 100
    for pattern, dtype in ((_INT, pl.Int64), (_FLOAT, pl.Float64), (_COMMA, pl.Float64)):
        if pattern == _COMMA and not comma:
            continue
        fits = rest.str.contains(pattern) & (rest != "")
        if int((~fits).sum()) > most:
            continue
        plain = (
            text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
            if pattern == _COMMA
            else text
        )
        found = plain.str.strip_prefix("+").cast(dtype, strict=False)
        lost = int(found.null_count() - text.null_count())
        if lost:
            mended[text.name] = lost
        return found
    return text


def _truth_or_time(column: pl.Series) -> pl.Series:
    known = column.drop_nulls()
    if not len(known):
        return column
    if known.head(200).str.to_lowercase().is_in(["true", "false"]).all() and (
        known.str.to_lowercase().is_in(["true", "false"]).all()
    ):
        return column.str.to_lowercase() == "true"
    if known.str.len_chars().max() > 40:  # type: ignore[operator]
        return column
    if known.head(200).str.contains(_DAY).all():
        return _day(column)
    for pattern, form in (
        (r"^\d{1,2}\.\d{1,2}\.\d{4}$", "%d.%m.%Y"),
        (r"^\d{1,2}\.\d{1,2}\.\d{4} \d\d:\d\d(:\d\d)?$", ""),
    ):
        if known.head(200).str.contains(pattern).all():
            forms = [form] if form else ["%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M"]
            return _by_form(column, forms)
    if known.head(200).str.contains(r"^\d{1,2}/\d{1,2}/\d{4}$").all():
        first = known.str.extract(r"^(\d+)/").cast(pl.Int64, strict=False).max()
        second = known.str.extract(r"^\d+/(\d+)/").cast(pl.Int64, strict=False).max()
        if first > 12 >= second:  # type: ignore[operator]
            return _by_form(column, ["%d/%m/%Y"])
        if second > 12 >= first:  # type: ignore[operator]
            return _by_form(column, ["%m/%d/%Y"])
    return column  # 03/04/2026 may be either: it stays text


def _day(column: pl.Series) -> pl.Series:
    plain = column.str.replace(r" ?(?:Z|UTC)$", "").str.replace(" ", "T", literal=True)
    zoned = bool(column.drop_nulls().str.contains(r"[+-]\d\d:?\d\d$").any())
    if not zoned:
        full = plain.str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00").str.replace(
            r"(T\d\d:\d\d)$", "${1}:00"
        )
        return _by_form(column, ["%Y-%m-%dT%H:%M:%S%.f"], full)
    try:
        return column.str.to_datetime(strict=True, time_zone="UTC").dt.replace_time_zone(None)
    except pl.exceptions.PolarsError:
        return column


def _by_form(column: pl.Series, forms: Sequence[str], text: pl.Series | None = None) -> pl.Series:
    for form in forms:
        found = (column if text is None else text).str.to_datetime(form, strict=False, time_unit="us")
        if found.null_count() == column.null_count():
            return found
    return column
