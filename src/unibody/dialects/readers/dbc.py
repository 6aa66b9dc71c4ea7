"""What the bits on a bus mean: a DBC file, read even where it breaks the format's grammar in small ways.

Real DBC files are written by hand: cantools alone refuses a third of those that opendbc carries. What stands in the
way is mended line by line before cantools sees it, and every mend is reported: file, line, before, after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from unibody.errors import FormatError, SetupError, nearest

_BYTES_MAX = 50_000_000  # the largest public DBC has 2 MB
_EXTENDED = 0x8000_0000  # the DBC format marks a 29-bit id so
_KEYWORD = re.compile(
    r"(BO_|SG_|CM_|VAL_|BA_|BA_DEF_|VAL_TABLE_|SIG_VALTYPE_|SG_MUL_VAL_|BO_TX_BU_|SIG_GROUP_)\b"
)
_MESSAGE = re.compile(r"(\s*BO_\s+)(\d+)(\s+)(\w+)(\s*:.*)", re.S)
_SIGNAL = re.compile(r"(\s*SG_\s+)(\w+)(\s.*)", re.S)
#: statements that name a message by its id, and perhaps a signal of it
_REFERENCE = re.compile(
    r'(\s*(?:VAL_|SIG_VALTYPE_|SG_MUL_VAL_|BO_TX_BU_|SIG_GROUP_|CM_\s+(?:SG_|BO_)|BA_\s+"[^"]*"\s+(?:SG_|BO_))\s+)'
    r"(\d+)(?:(\s+)(\w+))?(.*)",
    re.S,
)


@dataclass(frozen=True)
class Repair:
    """One line that was mended: where, what it was, what it became."""

    file: str
    line: int
    before: str
    after: str


@dataclass(frozen=True)
class Bus:
    """The messages of one bus as cantools knows them; `strict`: no signals overlap or leave their message."""

    name: str
    messages: tuple[Any, ...]  # cantools.database.can.Message
    repairs: tuple[Repair, ...]
    strict: bool


def load(name: str, folder: Path = Path()) -> Bus:
    """Read a DBC: a path (in `folder`, if relative), or the bare name of one that opendbc carries or generates.

    Raises SetupError where there is no such file, FormatError where it cannot be read even when mended.
    """
    if "/" in name or "\\" in name or name.lower().endswith(".dbc"):
        path = folder / name
        try:
            if path.stat().st_size > _BYTES_MAX:
                raise FormatError(f"{path}: is larger than {_BYTES_MAX:,} bytes, so it is no DBC")
            return _load(str(path), path.stem, _text(path.read_bytes()))
        except OSError as e:
            raise SetupError(f"{path}: cannot be read: {e.strerror}") from e
    return _known(name)


@cache
def _known(name: str) -> Bus:
    import opendbc.dbc

    folder = Path(opendbc.dbc.__file__).parent
    path = folder / f"{name}.dbc"
    if path.is_file():
        return _load(str(path), name, _text(path.read_bytes()))
    generated = _generated()
    if name not in generated and f"{name}_generated" in generated:
        return _known(f"{name}_generated")
    if name not in generated:
        known = [*(p.stem for p in folder.glob("*.dbc")), *generated]
        raise SetupError(
            f"no DBC {name!r} in opendbc; {nearest(name, known)} (or write a path that ends in .dbc)"
        )
    return _load(f"opendbc generator: {name}", name, generated[name])


@cache
def _generated() -> dict[str, str]:
    """The DBCs that opendbc builds from parts shared by several cars."""
    from opendbc.dbc.generator.generator import generate_all

    return dict(generate_all())


def names() -> list[str]:
    """Every name that opendbc carries or generates.

    >>> "fca_giorgio" in names()
    True
    """
    import opendbc.dbc

    return sorted({*(p.stem for p in Path(opendbc.dbc.__file__).parent.glob("*.dbc")), *_generated()})


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # what the tools of the field write


@lru_cache(maxsize=16)
def _load(where: str, name: str, text: str) -> Bus:
    import cantools

    mended, repairs = mend(where, text)
    wrong = ""
    for strict in (True, False):
        try:
            database = cantools.database.load_string(mended, "dbc", strict=strict)
        except (
            Exception
        ) as e:  # the parser raises its own, and KeyError or ValueError on what it did not foresee
            wrong = wrong or f"{type(e).__name__}: {e}"
            continue
        return Bus(name, tuple(database.messages), repairs, strict)
    raise FormatError(f"{where}: is no DBC that can be read: {wrong.splitlines()[0][:300]}")


def mend(where: str, text: str) -> tuple[str, tuple[Repair, ...]]:
    """The DBC with what cantools refuses mended, and each mend.

    >>> mend("here", 'BO_ 1 A: 8 X\\n SG_ 0_B : 0|8@1+ (.5,0) [0|1] "" X\\n')[1][0].after
    ' SG_ _0_B : 0|8@1+ (0.5,0) [0|1] "" X'
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    signals: dict[int, set[str]] = {}
    message = -1
    for _, line in _statements(lines):
        if (m := _MESSAGE.fullmatch(line)) and len(m[2]) < 12:
            message = _id(int(m[2]))
            signals.setdefault(message, set())
        elif (m := _SIGNAL.fullmatch(line)) and message >= 0:
            signals[message].add(_word(m[2]))
    repairs: list[Repair] = []
    for number, line in list(_statements(lines)):
        after = _mended(line, signals)
        if after != line:
            lines[number] = after
            repairs.append(Repair(where, number + 1, line, after))
    return "\n".join(lines), tuple(repairs)


def _statements(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines that begin a statement: not those inside a comment that spans several."""
    quoted = False
    for number, line in enumerate(lines):
        if not quoted and _KEYWORD.match(line.lstrip()):
            yield number, line
        quoted ^= line.count('"') % 2 == 1


def _mended(line: str, signals: dict[int, set[str]]) -> str:
    word = line.split(maxsplit=1)[0]
    if m := _MESSAGE.fullmatch(line):
        return f"{m[1]}{_id(int(m[2])) if len(m[2]) < 12 else m[2]}{m[3]}{_word(m[4])}{m[5]}"
    if m := _SIGNAL.fullmatch(line):
        rest, quote, unit = m[3].partition('"')
        return f"{m[1]}{_word(m[2])}{re.sub(r'(?<![0-9])[.](?=[0-9])', '0.', rest)}{quote}{unit}"
    if (
        word in ("VAL_", "CM_", "BA_", "SIG_VALTYPE_")
        and line.count('"') % 2 == 0
        and not line.rstrip().endswith(";")
    ):
        if len(line.split()) < 2:
            return line  # a name in the list of new symbols at the top
        line = line.rstrip() + ";"
    if word == "CM_" and (m := re.fullmatch(r'(\s*CM_\s+)(?:SG_\s+|BO_\s+)?(\d+\s+".*)', line, re.S)):
        line = f"{m[1]}BO_ {m[2]}"  # a comment on a signal that it does not name is one on the message
    if m := _REFERENCE.fullmatch(line):
        about = _id(int(m[2])) if len(m[2]) < 12 else -1
        named = _word(m[4]) if m[4] and ("SG_" in m[1] or word in ("VAL_", "SIG_VALTYPE_")) else m[4]
        if word == "VAL_" and named not in signals.get(about, ()):
            return ""  # words for a signal that there is not
        return f"{m[1]}{about}{m[3] or ''}{named or ''}{m[5]}"
    return line


def _id(number: int) -> int:
    """An id as cantools wants it: 29-bit ids carry bit 31."""
    return number if number <= 0x7FF or number & _EXTENDED else number & 0x1FFF_FFFF | _EXTENDED


def _word(name: str) -> str:
    return f"_{name}" if name[0].isdigit() else name
