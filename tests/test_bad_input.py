"""Bad input, as the person sees it who calls `unibody ingest`: where, what, what would have been right; nothing is lost.

A process that is killed, and two at once, have tests of their own in test_ingest.py; hostile records in test_readers.py.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small import DIALECT, backbone, bolt, command, contents, write
from test_cli import unibody as unibody  # a fixture

from unibody.tables import Tightening

GOOD = [bolt(i) for i in range(3)]
ALSO_PACKED = DIALECT.replace(
    '"bolts_{line}.csv"', '["bolts_{line}.csv", "bolts_{line}.csv.gz", "bolts_{line}.zip"]'
)
Make = Callable[[Path], Any]


def text(rows: list[dict[str, str]]) -> str:
    head, *_ = [",".join(rows[0])]
    return "\n".join([head, *(",".join(r.values()) for r in rows)]) + "\n"


def raw(name: str, body: bytes | str) -> Make:
    return lambda folder: (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())


def rows(*changed: dict[str, str]) -> Make:
    return raw("bolts_x.csv", text([bolt(10 + i) | c for i, c in enumerate(changed)]))


def zipped(member: str) -> Make:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "bolts_x.zip", "w") as z:
            z.writestr(member, text([bolt(10)]))

    return make


def renamed(old: str, new: str) -> Make:
    return raw("bolts_x.csv", text([{(new if k == old else k): v for k, v in bolt(10).items()}]))


SHORT = gzip.compress(text([bolt(i) for i in range(500)]).encode(), mtime=0)

#: what comes in beside three good records: how many of its records land, and what the quarantine entry says
HELD: dict[str, tuple[Make, int, tuple[str, ...]]] = {
    "cut short": (raw("bolts_x.csv.gz", SHORT[:-20]), 0, ("bolts_x.csv.gz", "cut short")),
    "no archive": (raw("bolts_x.csv.gz", b"no archive at all"), 0, ("bolts_x.csv.gz", "ot a gzip")),
    "binary garbage": (
        raw("bolts_x.csv", bytes(range(256)) * 8),
        0,
        ("bolts_x.csv", "is no delimited text", "holds zero bytes"),
    ),
    "empty": (raw("bolts_x.csv", ""), 0, ("bolts_x.csv", "is empty; its first line should name the columns")),
    "another encoding": (
        raw("bolts_x.csv", text([bolt(10), bolt(11, station="Größe")]).encode("latin-1")),
        1,
        ("bolts_x.csv", "is not utf-8 text; state the right encoding in the dialect's read.encoding"),
    ),
    "column missing": (
        raw("bolts_x.csv", text([{k: v for k, v in bolt(10).items() if k != "torque"}])),
        0,
        ("small.bolts: tightening.torque_nm: the data has no column 'torque'; there are file.line, id, kind",),
    ),
    "column renamed": (renamed("torque", "torque_nm"), 0, ("no column 'torque'; did you mean torque_nm?",)),
    "column twice": (raw("bolts_x.csv", text([bolt(10)]).replace("station", "id")), 0, ("the header names 'id' more than once",)),
    "too few fields": (
        raw("bolts_x.csv", text([bolt(10)]) + "B11,torn\n"),
        1,
        ("has 2 fields, should have 5 (id, time, station, torque, kind, ...)",),
    ),
    "impossible value": (
        rows({"torque": "1e9"}, {}),
        1,
        ("torque_nm must be within 0 .. 600 N·m, is 1000000000.0 (in torque)",),
    ),
    "no number": (rows({"torque": "tight"}), 0, ("torque_nm: 'tight' is not a number with '.' as decimal",)),
    "clock in 1970": (
        rows({"time": "1970-01-01 00:00:07"}),
        0,
        ("tightened_at: 1970-01-01 00:00:07", "is before 1990 or ahead of now: is the clock right? (in time)"),
    ),
    "no time": (rows({"time": "noon"}), 0, ("tightened_at: 'noon' is not a time (ISO 8601, zone UTC) (in time)",)),
    "nothing where a key is": (rows({"id": ""}), 0, ("tightening_id is missing (in id)",)),
    "archive bomb": (
        lambda folder: gzip.open(folder / "bolts_x.csv.gz", "wb", 1).write(text([bolt(10)]).encode() + b"\n" * 2_000_000),
        0,
        ("bolts_x.csv.gz: unpacks to more than", "raise file_bytes_max or unpack_ratio_max in unibody.toml"),
    ),
    "path that leaves its folder": (
        zipped("../../etc/cron.d/bolts.csv"),
        0,
        ("bolts_x.zip: member '../../etc/cron.d/bolts.csv' leaves the archive's folder",),
    ),
}  # fmt: skip


@pytest.fixture
def home(folder: Path) -> Path:
    (folder / "dialects").mkdir()
    (folder / "dialects/small.toml").write_text(ALSO_PACKED)
    (folder / "raw").mkdir()
    write(folder / "raw/bolts_a.csv", GOOD)
    return folder


def balanced(tally: dict[str, Any]) -> dict[str, Any]:
    parts = tally["landed"] + tally["quarantined"] + tally["already_known"] + sum(tally["set_aside"].values())
    assert tally["records"] == parts, tally
    return tally


@pytest.mark.parametrize("case", HELD)
def test_what_is_wrong_is_held_and_says_what_would_be_right(
    case: str, unibody: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, lands, said = HELD[case]
    make(home / "raw")
    if case == "archive bomb":
        monkeypatch.setenv("UNIBODY_UNPACK_RATIO_MAX", "1")
    tally = balanced(unibody.json("ingest", "raw"))
    assert (tally["landed"], tally["quarantined"]) == (3 + lands, 1)
    [entry] = unibody.json("lake", "quarantine")["entries"]
    assert all(s in entry["rule"] for s in said), entry["rule"]
    assert Path(entry["path"]).name.startswith("bolts_x") and entry["dialect"] == "small"
    assert balanced(unibody.json("ingest", "raw"))["landed"] == 0  # again: nothing more, nothing less
    assert len(unibody.json("lake", "quarantine")["entries"]) == 1


#: what harms nothing: how many of its records land
HARMLESS: dict[str, tuple[Make, int, dict[str, int]]] = {
    "extra column": (raw("bolts_x.csv", text([bolt(10, colour="red")])), 1, {}),
    "the same file again": (raw("bolts_x.csv", text(GOOD)), 0, {"already_known": 3}),
    "a formula and a script": (
        rows({"station": "=cmd|' /C calc'!A0"}, {"station": "<script>x</script>"}),
        2,
        {},
    ),
    "a link that leaves the folder": (
        lambda folder: (folder / "bolts_x.csv").symlink_to(write(folder.parent / "secret/bolts_x.csv", GOOD)),
        0,
        {},
    ),
    "a letter": (raw("letter.txt", "dear all"), 0, {"unmatched": 1}),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_harms_nothing_is_taken_as_it_is(case: str, unibody: Any, home: Path) -> None:
    make, lands, said = HARMLESS[case]
    make(home / "raw")
    tally = balanced(unibody.json("ingest", "raw"))
    assert (tally["landed"], tally["quarantined"]) == (3 + lands, 0)
    for key, count in said.items():
        assert (tally[key] if isinstance(tally[key], int) else len(tally[key])) == count
    if "script" in case:
        stations = {r["station"] for r in unibody.json("lake", "show", "tightening")}
        assert {"=cmd|' /C calc'!A0", "<script>x</script>"} <= stations


def test_a_file_still_being_written_is_read_on_when_it_is_finished(
    unibody: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIBODY_QUIET_SECONDS", "3600")
    whole = text([bolt(10), bolt(11)])
    (home / "raw/bolts_x.csv").write_text(whole[:-12])
    tally = balanced(unibody.json("ingest", "raw"))
    assert (tally["landed"], tally["set_aside"]) == (4, {"unfinished last line": 1})
    (home / "raw/bolts_x.csv").write_text(whole)
    assert balanced(unibody.json("ingest", "raw"))["landed"] == 1


def dialect(old: str, new: str) -> Make:
    return lambda folder: (folder.parent / "dialects/small.toml").write_text(ALSO_PACKED.replace(old, new))


CAN = """
system = "test.bus"
about = "a bus"
[[files]]
match = "{vin}.log"
reader = "candump"
read.dbc = "chrysler_cus"
"""


def bus(folder: Path) -> None:
    (folder.parent / "dialects/bus.toml").write_text(CAN)
    (folder / "ZACNJBB20TP100091.log").write_text("(1779515216.206606) can0 1F0#00\n")


#: what stops the command, for its author can mend it: what the person sees
STOPS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "broken TOML": (dialect("[[files]]", "[[files]"), ("small.toml: not TOML: ", "line 5")),
    "misspelt key": (dialect('reader = "del', 'readr = "del'), ("small.toml: files[bolts]: ", "has no reader")),
    "misspelt option": (
        dialect('columns.torque_nm = "torque"', "columns.torque_nm = { fromm = 'torque' }"),
        ("files[bolts].rows[0] (tightening).torque_nm: no key 'fromm'; did you mean from?",),
    ),
    "misspelt column": (dialect("columns.torque_nm", "columns.torqe_nm"), ("no column 'torqe_nm'; did you mean torque_nm?",)),
    "unknown table": (dialect('table = "tightening"', 'table = "tightenings"'), ("no table 'tightenings'; did you mean tightening?",)),
    "settings broken": (lambda f: (f.parent / "unibody.toml").write_text("port = "), ("unibody.toml: not TOML",)),
    "setting misspelt": (lambda f: (f.parent / "unibody.toml").write_text("prot = 1"), ("unibody.toml: no setting 'prot'; did you mean port?",)),
    "lake that cannot be locked": (
        lambda f: shutil.copy(f / "bolts_a.csv", (f.parent / "home/lake").mkdir() or f.parent / "home/lake/_locks"),
        ("home/lake/_locks: cannot be written",),
    ),
    "lake that is broken": (
        lambda f: (f.parent / "home/lake/_sources/_delta_log").mkdir(parents=True) or raw("00000000000000000000.json", "{")(f.parent / "home/lake/_sources/_delta_log"),
        ("_sources: is no Delta table or is broken",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STOPS)
def test_what_its_author_can_mend_stops_the_command_and_names_the_place(
    case: str, unibody: Any, home: Path
) -> None:
    make, said = STOPS[case]
    make(home / "raw")
    code, _, err = unibody("ingest", "raw")
    words = " ".join(err.split())
    assert code != 0 and "Traceback" not in err
    assert all(s in words for s in said), err


def test_a_wrong_unit_and_an_unknown_dbc_hold_the_file(unibody: Any, home: Path) -> None:
    dialect('columns.torque_nm = "torque"', "columns.torque_nm = { from = 'torque', unit = 'degC' }")(
        home / "raw"
    )
    bus(home / "raw")
    tally = balanced(unibody.json("ingest", "raw"))
    assert (tally["landed"], tally["quarantined"]) == (0, 2)
    rules = sorted(e["rule"] for e in unibody.json("lake", "quarantine")["entries"])
    assert "no DBC 'chrysler_cus' in opendbc; did you mean chrysler_cusw?" in rules[0]
    assert "tightening.torque_nm: unit 'degC' does not become 'N·m'" in rules[1]
    dialect("", "")(home / "raw")  # mended
    assert balanced(unibody.json("lake", "replay"))["landed"] == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("UNIBODY_HOEM", "UNIBODY_HOEM: no such setting; did you mean UNIBODY_HOME?"),
        ("unibody_quiet_second", "did you mean UNIBODY_QUIET_SECONDS?"),
        ("UNIBODY_DIALECT", "did you mean UNIBODY_DIALECTS?"),
    ],
)
def test_a_misspelt_variable_is_told(
    name: str, said: str, unibody: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    code, _, err = unibody("settings")
    assert code != 0 and said in " ".join(err.split())


def test_known_variables_and_other_programs_variables_do_no_harm(
    unibody: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNIBODY_DATA", str(tmp_path))
    monkeypatch.setenv("UNIBODY_SECRET_HOOK", "s")
    monkeypatch.setenv("unibody_batch_rows", "5")
    stated = {s["name"]: s["value"] for s in unibody.json("settings")}
    assert (stated["data"], stated["batch_rows"]) == (str(tmp_path), "5")
    monkeypatch.setenv("UNIBODY_PORT_8420_TCP_ADDR", "there")  # as a container's host sets it
    with pytest.warns(UserWarning, match="UNIBODY_PORT_8420_TCP_ADDR is set and is no setting of ours"):
        assert unibody("settings")[0] == 0


# ---- a full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(place)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False).returncode
    except FileNotFoundError:
        done = 1
    if done:
        pytest.skip(
            "no small disk can be mounted here (mount -t tmpfs wants root); test_lake.py limits file sizes"
        )
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=False)


def test_a_full_disk_is_said_and_what_came_later_lands_once_there_is_room(disk: Path, tmp_path: Path) -> None:
    import random

    for f in range(6):
        many = [
            bolt(3000 * f + i, station=f"{random.Random(3000 * f + i).getrandbits(64):x}")
            for i in range(3000)
        ]
        write(tmp_path / f"raw/bolts_{f}.csv", many)
    full = command(tmp_path, "ingest", "raw", "--json", env={"UNIBODY_HOME": str(disk / "home")})
    _, err = full.communicate()
    said = " ".join(err.decode().split())
    assert full.returncode != 0 and "Traceback" not in said
    assert "No space left on device" in said and str(disk / "home") in said
    subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
    b = backbone(tmp_path, home=disk / "home")
    again = balanced(b.ingest([tmp_path / "raw"]).plain())
    assert again["quarantined"] == 0 and again["records"] == 18_000
    assert len(contents(b, Tightening)) == 18_000
    assert len({r[0] for r in contents(b, Tightening)}) == 18_000
