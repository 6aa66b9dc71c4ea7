"""Drop folder: one file a message, JSON or CSV, there whole or not at all, named by the key.

The receiving system takes the files away. A spreadsheet that opens a CSV runs no formula out of a customer's text.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from unibody.dialects.writers import Outcome, Parcel
from unibody.errors import SetupError

FORMATS = ("json", "csv")
#: What a spreadsheet takes for the beginning of a formula, also in its full-width form.
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "|", "%")


def check(recipient: str, options: Mapping[str, Any]) -> None:
    """SetupError where this is no folder's absolute path, or the format is not one of ours."""
    if not recipient or "\0" in recipient or not Path(recipient).is_absolute():
        raise SetupError(f"drop to {recipient!r}: should be a folder's absolute path")
    if options.get("format", "json") not in FORMATS:
        raise SetupError(f"drop: format = {options.get('format')!r} should be one of {', '.join(FORMATS)}")


def send(parcel: Parcel) -> Outcome:
    """Put the file there once; a repeat replaces it by the same. Sent: that somebody took it nobody says."""
    try:
        check(parcel.recipient, parcel.options)
    except SetupError as e:
        return Outcome("again", error=str(e))
    kind = str(parcel.options.get("format", "json"))
    content = table(parcel.body) if kind == "csv" else json.dumps(parcel.body, ensure_ascii=False, indent=1)
    folder = Path(parcel.recipient)
    path, part = folder / f"{parcel.key}.{kind}", folder / f".{parcel.key}.{os.getpid()}.part"
    data = content.encode("utf-8", "replace")
    try:
        with part.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)
        _keep(folder)
    except OSError as e:
        with suppress(OSError):
            part.unlink()
        return Outcome("again", error=f"drop to {folder}: {type(e).__name__}: {e.strerror}")
    return Outcome("sent", {"file": str(path), "bytes": len(data)})


def table(body: Any) -> str:
    """A message as CSV: a list of objects a row each, one object one row.

    >>> print(table([{"vin": "VF3", "note": "=1+1"}, {"vin": "-2.5", "note": None}]), end="")
    "vin","note"
    "VF3","'=1+1"
    "-2.5",""
    """
    rows = [r if isinstance(r, dict) else {"value": r} for r in (body if isinstance(body, list) else [body])]
    columns = list(dict.fromkeys(c for r in rows for c in r))
    out = io.StringIO()
    lines = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows([_cell(r.get(c)) for c in columns] for r in rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    # a line break or tab inside a cell is a blank: some programs split the line there and read on as a new cell
    text = "".join(c if c.isprintable() else " " for c in str(value))
    if text.lstrip().startswith(FORMULA) and not _number(text):
        return f"'{text}"
    return text


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()


def _keep(folder: Path) -> None:
    """The new name survives a power cut too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
