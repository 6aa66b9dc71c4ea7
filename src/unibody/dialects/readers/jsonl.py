"""JSON lines: one JSON document a line, as the reader `json` has it with `lines = true`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unibody.dialects.readers import Batch, Limits, json


def read(path: Path, options: Mapping[str, Any], start: int, limits: Limits) -> Iterator[Batch]:
    """Records of a file with one JSON document a line; a line that is none is a broken record."""
    return json.read(path, {**options, "lines": True}, start, limits)
