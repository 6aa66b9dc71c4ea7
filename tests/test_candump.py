"""Logs of a vehicle's bus: every line as a frame, every frame as cantools would decode it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cantools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import (
    DATA,
    get,
    needs,
    some,
)

from unibody.dialects.readers import Limits
from unibody.dialects.readers import dbc as dbc_files
from unibody.errors import SetupError


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        (
            "(1719817200.123456) can0 123#0011",
            {"at": "1719817200.123456", "can_id": 0x123, "data": b"\x00\x11"},
        ),
        ("(1.0) can0 18FEDF00#8A", {"can_id": 0x18FEDF00, "extended": True, "data": b"\x8a"}),
        ("(1.0) can0 123##1" + "AB" * 64, {"data": b"\xab" * 64}),
        ("(1.0) can0 123#R8", {"is_remote": True, "data": b""}),
        ("(1.0) can0 20000080#0000000000000000", {"is_error": True, "can_id": 0x80}),
        ("(1.0) vcan0 123#00.11.22 R", {"channel": "vcan0", "data": b"\x00\x11\x22"}),
        (
            " (000.005001)  can0  18FEDF00   [2]  8A A0",
            {"at": "000.005001", "extended": True, "data": b"\x8a\xa0"},
        ),
        (" (1.0)  can0  123   [3]  01 02 03   '...'", {"data": b"\x01\x02\x03"}),
        (" (1.0)  can0  123   [8]  remote request", {"is_remote": True}),
        ("(1.0) can0 FFF#00", "at most 7FF"),
        ("(1.0) can0 123#000", "as candump -L writes it"),
        ("(1.0) can0 123#001122334455667788", "at most 8"),
        ("(1.0) can0 FFFFFFFF#00", "at most 1FFFFFFF"),
        (" (1.0)  can0  123   [8]  00 11", "says that it has 8 bytes of data and has 2"),
        ("can0 123#00", "as candump -L writes it"),
        ("\xe9", "as candump -L writes it"),
    ],
)
def test_candump_lines(line: str, frame: Any, tmp_path: Path) -> None:
    (tmp_path / "f.log").write_bytes(line.encode("latin-1") + b"\n")
    got = get("candump", tmp_path / "f.log")
    if isinstance(frame, str):
        assert not got.rows and frame in got.broken[0][2]
    else:
        usual = {
            "channel": "can0",
            "extended": False,
            "sequence": 0,
            "is_remote": False,
            "is_error": False,
            "record": 0,
        }
        assert (
            {**usual, **frame}.items() <= got.rows[0].items()
            if "channel" not in frame
            else frame.items() <= got.rows[0].items()
        )


instants = st.sampled_from(["(1.0)", "(1.1)", "(1.2)"])
ids = st.sampled_from(["100", "101", "00000100"])


@some
@given(
    st.lists(st.tuples(instants, st.sampled_from(["can0", "can1"]), ids), max_size=30),
    st.integers(1, 9),
    st.integers(0, 30),
)
def test_frames_of_one_instant_are_told_apart(
    tmp_path: Path, frames: list[tuple[str, str, str]], batch: int, start: int
) -> None:
    (tmp_path / "f.log").write_text("".join(f"{a} {c} {i}#00\n" for a, c, i in frames))
    got = get("candump", tmp_path / "f.log", {}, start, Limits(batch_rows=batch, quiet_seconds=0))
    wanted, last = [], dict[str, tuple[str, dict[int, int]]]()
    for n, (at, channel, can_id) in enumerate(frames):
        if last.get(channel, ("",))[0] != at:
            last[channel] = (at, {})
        counts = last[channel][1]
        key = int(can_id, 16)
        wanted.append((n, counts.get(key, 0)))
        counts[key] = counts.get(key, 0) + 1
    assert [(r["record"], r["sequence"]) for r in got.rows] == wanted[start:]


STELLANTIS = {
    "chrysler_cusw": (26, 97),
    "chrysler_pacifica_2017_hybrid_generated": (50, 210),
    "chrysler_pacifica_2017_hybrid_private_fusion": (31, 122),
    "chrysler_ram_dt": (29, 166),
    "chrysler_ram_hd_generated": (23, 146),
    "fca_giorgio": (37, 155),
    "opel_omega_2001": (11, 38),
    "psa_aee2010_r3": (107, 430),
}


@pytest.mark.parametrize("name", STELLANTIS)
def test_stellantis_dbc(name: str) -> None:
    bus = dbc_files.load(name)
    assert (len(bus.messages), sum(len(m.signals) for m in bus.messages)) == STELLANTIS[name]
    assert all(r.before != r.after and r.file and r.line for r in bus.repairs)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("BO_ 517111811 LONG: 8 X", "BO_ 2664595459 LONG: 8 X"),
        ("BO_ 1275 2017_5: 8 X", "BO_ 1275 _2017_5: 8 X"),
        (' SG_ 0_A : 0|8@1+ (.5,-.5) [.0|1] ".x" X', ' SG_ _0_A : 0|8@1+ (0.5,-0.5) [0.0|1] ".x" X'),
        ('VAL_ 1 A 0 "off" 1 "on"', 'VAL_ 1 A 0 "off" 1 "on";'),
        ('VAL_ 1 GONE 0 "off";', ""),
        ('CM_ "BO_ is a keyword', 'CM_ "BO_ is a keyword'),
        ('CM_ "Front target"', 'CM_ "Front target";'),
        ('CM_ SG_ 304 "of no signal";', 'CM_ BO_ 304 "of no signal";'),
        ('CM_ 145 "of no kind";', 'CM_ BO_ 145 "of no kind";'),
        ('CM_ SG_ 517111811 0_A "x";', 'CM_ SG_ 2664595459 _0_A "x";'),
        ("    VAL_", "    VAL_"),
        ("BO_ 1 GOOD: 8 X", "BO_ 1 GOOD: 8 X"),
    ],
)
def test_dbc_repairs(before: str, after: str) -> None:
    start = 'BO_ 1 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|1] "" X\n'
    mended, repairs = dbc_files.mend("here.dbc", start + before)
    assert mended.split("\n")[2] == after
    assert [(r.file, r.line, r.before, r.after) for r in repairs] == (
        [("here.dbc", 3, before, after)] if before != after else []
    )


MADE = """VERSION ""
BU_: X
BO_ 100 PLAIN: 8 X
 SG_ U : 7|12@0+ (0.071028,0) [0|0] "m/s" X
 SG_ S : 12|13@1- (0.25,-500) [0|0] "" X
 SG_ F : 32|32@1- (1,0) [0|0] "" X
 SG_ G : 31|3@0- (1,0) [0|0] "" X
BO_ 101 WIDE: 8 X
 SG_ W : 0|64@1+ (1,0) [0|0] "" X
BO_ 102 SIGNED: 8 X
 SG_ W : 7|64@0- (3,7) [0|0] "" X
BO_ 103 DOUBLE: 8 X
 SG_ D : 7|64@0- (0.1,1.5) [0|0] "" X
BO_ 104 MUX: 8 X
 SG_ M M : 0|4@1+ (1,0) [0|0] "" X
 SG_ A m0 : 8|12@1+ (0.5,1) [0|0] "" X
 SG_ B m1 : 8|12@1- (1,0) [0|0] "" X
 SG_ C m1 : 31|9@0+ (2,-1) [0|0] "" X
 SG_ Z : 40|7@1+ (1,0) [0|0] "" X
BO_ 2147483753 NEST: 8 X
 SG_ M M : 0|2@1+ (1,0) [0|0] "" X
 SG_ N m0M : 8|2@1+ (1,0) [0|0] "" X
 SG_ P m1 : 8|16@1+ (1,0) [0|0] "" X
 SG_ Q m2 : 16|16@1- (0.1,0) [0|0] "" X
 SG_ R m3 : 16|8@1- (0.1,0) [0|0] "" X
BO_ 106 LONG: 64 X
 SG_ L : 501|11@1+ (1,0) [0|0] "" X
 SG_ K : 65|63@1- (1,0) [0|0] "" X
 SG_ J : 250|61@0+ (0.5,0) [0|0] "" X
SIG_VALTYPE_ 100 F : 1;
SIG_VALTYPE_ 103 D : 2;
VAL_ 100 G -1 "minus" 0 "none" 2 "two";
VAL_ 104 M 0 "first" 1 "second";
VAL_ 104 Z 127 "SNA";
SG_MUL_VAL_ 2147483753 Q N 0-0;
SG_MUL_VAL_ 2147483753 R N 1-3;
SG_MUL_VAL_ 2147483753 N M 0-0;
SG_MUL_VAL_ 2147483753 P M 1-1;
"""


def said(row: dict[str, Any]) -> Any:
    filled = [row[k] for k in ("value", "integer", "text") if row[k] is not None]
    assert len(filled) == 1, row
    return filled[0]


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, str):
        return ours == str(theirs)
    if isinstance(ours, int):
        return ours == theirs and abs(ours) > 1 << 53
    return repr(ours) == repr(float(theirs))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dbc") / "made.dbc"
    path.write_text(MADE)
    return path


@pytest.mark.parametrize("name", ["made", "chrysler_ram_dt", "opel_omega_2001", "tesla_can", "ESR"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_values_equal_cantools(name: str, data: st.DataObject, made: Path, tmp_path: Path) -> None:
    bus = dbc_files.load(str(made) if name == "made" else name)
    by_id = {m.frame_id | m.is_extended_frame << 31: m for m in bus.messages}
    frames = data.draw(
        st.lists(
            st.sampled_from(list(by_id.values())).flatmap(
                lambda m: st.tuples(st.just(m), st.binary(min_size=m.length, max_size=m.length))
            ),
            min_size=1,
            max_size=40,
        )
    )
    if name == "made":  # a multiplexer is seldom right by chance
        frames = [
            (m, bytes([d[0] & 0xF1, d[1] & 1, *d[2:]]) if m.name in ("MUX", "NEST") else d) for m, d in frames
        ]
    lines = []
    for m, d in frames:
        number = f"{m.frame_id:08X}" if m.is_extended_frame else f"{m.frame_id:03X}"
        lines.append(f"(1.0) can0 {number}{'##0' if m.length > 8 else '#'}{d.hex().upper()}\n")
    (tmp_path / "f.log").write_text("".join(lines))
    limits = Limits(batch_rows=data.draw(st.sampled_from([4, 1000])), quiet_seconds=0)
    got = get("candump", tmp_path / "f.log", {"dbc": str(made) if name == "made" else name}, 0, limits)
    assert got.fault is None and not got.broken
    for n, (m, d) in enumerate(frames):
        rows = [r for r in got.rows if r["record"] == n]
        try:
            theirs = m.decode(d, decode_choices=True)
        except cantools.database.DecodeError:
            assert [(r["signal"], r["state"]) for r in rows] == [(None, "unknown multiplexer")]
            continue
        assert {r["signal"] for r in rows} == ({*theirs} or {None})
        assert all(
            r["signal"] is None or r["value"] != r["value"] or same(said(r), theirs[r["signal"]])
            for r in rows
        )


def test_signals_that_overlap_are_each_read_by_their_own_bits(tmp_path: Path) -> None:
    overlap = 'BO_ 1 M: 2 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n SG_ B : 4|8@1+ (1,0) [0|0] "" X\n SG_ C : 12|8@1+ (1,0) [0|0] "" X\n'
    (tmp_path / "o.dbc").write_text(overlap)
    (tmp_path / "f.log").write_text("(1.0) can0 001#A55A\n")
    got = get("candump", tmp_path / "f.log", {"dbc": "o.dbc"})
    assert {r["signal"]: r["value"] for r in got.rows} == {"A": 0xA5, "B": 0xAA}  # C leaves the message


def test_what_was_not_decoded_says_why(made: Path, tmp_path: Path) -> None:
    lines = ["064#00", "7FF#00", "064#R", "20000001#00", "068#0F00000000000000"]
    (tmp_path / "f.log").write_text("".join(f"(1.0) can0 {x}\n" for x in lines))
    got = get("candump", tmp_path / "f.log", {"dbc": str(made)})
    states = ["other length", "unknown id", "remote", "error", "unknown multiplexer"]
    assert [(r["record"], r["state"], r["signal"]) for r in got.rows] == [
        (i, s, None) for i, s in enumerate(states)
    ]


def test_signals_under_vss_names(made: Path, tmp_path: Path) -> None:
    (tmp_path / "f.log").write_text("(1.0) can0 064#0100000000000000\n")
    options = {
        "dbc": str(made),
        "vss": {"PLAIN.U": ["Vehicle.Speed", "m/s", "km/h"], "PLAIN.G": "Vehicle.Gear"},
        "prefix": "dodge.",
    }
    rows = {r["signal"]: r for r in get("candump", tmp_path / "f.log", options).rows}
    assert rows["U"]["path"] == "Vehicle.Speed" and rows["U"]["unit"] == "km/h"
    assert rows["U"]["value"] == pytest.approx(16 * 0.071028 * 3.6)
    assert (rows["G"]["path"], rows["G"]["text"], rows["G"]["value"]) == ("Vehicle.Gear", "none", None)
    assert rows["S"]["path"] == "dodge.PLAIN.S"
    wrong = get("candump", tmp_path / "f.log", {**options, "vss": {"PLAIN.V": "x"}})
    assert isinstance(wrong.fault, SetupError) and "PLAIN.V" in str(wrong.fault)
    assert "fca_giorgio" in str(get("candump", tmp_path / "f.log", {"dbc": "fca_georgio"}).fault)


@needs("vehicles", "canbus_logs_real_cars", "durango")
def test_real_log_of_a_durango_equals_cantools() -> None:
    path = DATA / "vehicles/canbus_logs_real_cars/durango/keyon.log.gz"
    by_id = {m.frame_id: m for m in dbc_files.load("chrysler_pacifica_2017_hybrid").messages}
    got = get("candump", path, {"dbc": "chrysler_pacifica_2017_hybrid"})
    frames = get("candump", path).rows
    assert got.fault is None and not got.broken
    assert [f["record"] for f in frames] == sorted({r["record"] for r in got.rows})
    ours: dict[int, dict[str, Any]] = {}
    for r in got.rows:
        if r["signal"]:
            ours.setdefault(r["record"], {})[r["signal"]] = said(r)
    for f in frames[:3000]:
        m = by_id.get(f["can_id"])
        if m is None or m.length != len(f["data"]):
            assert f["record"] not in ours
            continue
        theirs = m.decode(f["data"])
        mine = ours[f["record"]]
        assert theirs.keys() == mine.keys() and all(same(mine[k], v) for k, v in theirs.items())
