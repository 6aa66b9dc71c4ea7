"""Lines of a text file, numbered: what the readers of JSON lines and of bus logs have in common."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from unibody.errors import FormatError

_BLOCK = 1 << 20
LINE_MAX = 8 << 20  # bytes; a line longer than this is not text
RAW_MAX = 10_000  # characters of a broken record that are kept


@dataclass(frozen=True)
class Lines:
    """Whole lines in file order, the number of the first, and what ended the file if it has ended."""

    first: int
    lines: list[bytes]
    unfinished: int = 0
    fault: FormatError | None = None
    last: bool = False


def blocks(
    stream: io.BufferedIOBase, where: str, most: int, growing: bool, ends: bytes = b"\n"
) -> Iterator[Lines]:
    """Up to `most` lines at a time, without their ends; blank lines are left out and have no number.

    A last line without an end is held back as unfinished while the file is `growing`. A file that cannot be read
    further gives what was read, with the fault: the caller yields the first and raises the second.
    """
    first, tail, ready = 0, b"", list[bytes]()
    fault: FormatError | None = None
    while True:
        try:
            block = stream.read(_BLOCK)
        except FormatError as e:
            block, fault = b"", e
        if not block:
            break
        *whole, tail = (tail + block).split(ends)
        ready += [line for line in whole if line and not line.isspace()]
        while len(ready) >= most:
            yield Lines(first, ready[:most])
            first, ready = first + most, ready[most:]
        if len(tail) > LINE_MAX:
            text = tail[:40].decode("latin-1")
            message = f"{where}: record {first + len(ready)} ({text!r}...) is a line of more than {LINE_MAX:,} bytes"
            yield Lines(first, ready, 0, FormatError(f"{message}; a record should be one line of text"), True)
            return
    unfinished = 0
    if tail.strip() and fault is None:
        if growing:
            unfinished = 1
        else:
            ready.append(tail)
    yield Lines(
        first,
        ready[:most],
        unfinished if len(ready) <= most else 0,
        None if len(ready) > most else fault,
        len(ready) <= most,
    )
    if len(ready) > most:
        yield Lines(first + most, ready[most:], unfinished, fault, True)


def shown(raw: bytes | str) -> str:
    """A raw record as text that can be kept: no longer than `RAW_MAX`."""
    text = raw if isinstance(raw, str) else raw.decode("utf-8", errors="backslashreplace")
    return text if len(text) <= RAW_MAX else text[:RAW_MAX] + "..."
