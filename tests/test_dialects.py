"""Every dialect: it loads, says what is real and what made up, and turns its sample into exactly the rows expected.

A sample is `samples/<dialect>/`: raw files as the source names them, and `expected.json`, checked by hand against
them. `python tests/test_dialects.py NAME` writes the file anew for a dialect: then check every value again.
"""

import json
import os
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unibody.backbone.ingest import Tally, ingest
from unibody.dialects import dialect as dialects
from unibody.dialects.dialect import Dialect
from unibody.dialects.mapping import map_records
from unibody.dialects.readers import Limits, reader
from unibody.errors import SetupError
from unibody.lake import Lake, Quarantined
from unibody.tables import TABLES, BuildRecord, MachineReading, NetworkFrame, Outcome, SignalReading
from unibody.twin import make

ROOT = Path(dialects.__file__).parent
SAMPLES = Path(__file__).parent / "samples"
KNOWN = dialects.find([ROOT])
OWN = {n: d for n, d in KNOWN.items() if not d.based_on}
NOW = datetime(2026, 12, 1, tzinfo=UTC)
LIMITS = Limits(quiet_seconds=0)
#: what a rule may say to tell what would have been right
RIGHT = re.compile(r"must|should|is not (a|one|after|true|text|bytes)|is the clock right|is missing")


def raw_files(name: str) -> list[Path]:
    return sorted(
        p for p in (SAMPLES / name).rglob("*") if p.is_file() and p.name not in ("expected.json", "README.md")
    )


def plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"
    if isinstance(value, bytes):
        return value.hex().upper()  # as the log writes it
    return round(value, 9) if isinstance(value, float) else value


def said(frame: pl.DataFrame) -> list[dict[str, object]]:
    """Rows without what is empty; known_at where the source states it."""
    rows = []
    for row in frame.drop("record", "deleted", "_group", strict=False).to_dicts():
        if row.pop("known_assumed"):
            del row["known_at"]
        rows.append({k: plain(v) for k, v in row.items() if v is not None})
    return rows


def heard(name: str, path: Path) -> dict[str, object]:
    """What a dialect makes of one raw file: rows by table, what is quarantined and what set aside."""
    found, kind, names = dialects.which(path.relative_to(SAMPLES), {name: KNOWN[name]})
    rows: dict[str, list[dict[str, object]]] = {}
    wrong: list[tuple[int, str]] = []
    aside: Counter[str] = Counter()
    for batch in reader(kind.reader, name)(path, kind.read, 0, LIMITS):
        wrong += batch.broken.select("record", "rule").rows()
        mapped = map_records(batch.frame, kind, names, NOW, f"{found.name}.{kind.name}")
        for table, frame in mapped.rows.items():
            rows.setdefault(table.title(), []).extend(said(frame))
        for i, frame in mapped.last.items():
            unique = ["_group", *(kind.rows[i].table.packs[-1:] if kind.rows[i].signals else ())]
            last = frame.unique(unique, keep="last", maintain_order=True)
            rows.setdefault(kind.rows[i].table.title(), []).extend(said(last))
        wrong += mapped.faults.rows()
        aside.update(mapped.aside["rule"].to_list())
    return {"rows": rows, "quarantined": [list(w) for w in sorted(wrong)], "set_aside": dict(aside)}


@pytest.mark.parametrize("name", KNOWN)
def test_a_dialect_says_what_it_is(name: str) -> None:
    d = KNOWN[name]
    assert d.about and d.system and d.files
    assert d.real or d.made_up
    assert "real" in Path(d.path).read_text() and "made_up" in Path(d.path).read_text()


def test_no_two_dialects_are_one_system() -> None:
    assert [s for s, n in Counter(d.system for d in KNOWN.values()).items() if n > 1] == []


@pytest.mark.parametrize("name", OWN)
def test_every_kind_of_file_has_a_sample(name: str) -> None:
    kinds = {dialects.which(p.relative_to(SAMPLES), {name: KNOWN[name]})[1].name for p in raw_files(name)}
    assert kinds == {k.name for k in KNOWN[name].files}


@pytest.mark.parametrize("name", OWN)
def test_a_sample_becomes_the_rows_expected(name: str) -> None:
    expected = json.loads((SAMPLES / name / "expected.json").read_text(encoding="utf-8"))
    files = {p.relative_to(SAMPLES / name).as_posix(): p for p in raw_files(name)}
    assert set(expected) == set(files)
    for rel, path in files.items():
        assert heard(name, path) == expected[rel], rel


@pytest.mark.parametrize("name", OWN)
def test_a_refusal_says_what_would_have_been_right(name: str) -> None:
    for path in raw_files(name):
        for _, rule in heard(name, path)["quarantined"]:  # type: ignore[attr-defined]
            assert RIGHT.search(rule), rule


@pytest.mark.parametrize("name", OWN)
def test_no_two_dialects_fit_a_sample(name: str) -> None:
    for path in raw_files(name):
        found, _, _ = dialects.which(path.relative_to(SAMPLES), KNOWN)
        assert found.name == name


@pytest.mark.parametrize("name", sorted(set(KNOWN) - set(OWN)))
def test_a_dialect_based_on_another_fits_its_own_folder_only(name: str) -> None:
    d = KNOWN[name]
    base = KNOWN[str(d.based_on)]
    while base.based_on:
        base = KNOWN[base.based_on]
    for path in raw_files(base.name):
        own = Path(path.relative_to(SAMPLES / base.name).as_posix().replace(base.name, name))
        assert dialects.which(own, KNOWN)[0].name == name
    assert len(Path(d.path).read_text().splitlines()) <= 10


VSS = Path(os.environ.get("UNIBODY_DATA", "../shared/data")) / "vehicles/vss/vss_release_6.0.json"


@pytest.mark.skipif(not VSS.is_file(), reason="the Vehicle Signal Specification is not here")
def test_paths_of_vehicle_signals_are_those_of_vss() -> None:
    def walk(node: dict, above: str = "") -> dict[str, str]:
        found: dict[str, str] = {}
        for name, child in node.items():
            path = f"{above}.{name}".lstrip(".")
            found |= walk(child["children"], path) if "children" in child else {path: child.get("unit", "")}
        return found

    paths = walk(json.loads(VSS.read_text()))
    units = {"percent": "percent", "km/h": "km/h", "deg/s": "degrees/s"}
    for d in KNOWN.values():
        for kind in d.files:
            for stated in kind.read.get("vss", {}).values():
                path, *unit = [stated] if isinstance(stated, str) else stated
                assert path in paths, f"{d.name}: {path}"
                assert not unit or units[unit[1]] == paths[path], f"{d.name}: {path} is in {paths[path]}"


# ---------------------------------------------------------------- the twin, whole


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lake, Tally]:
    folder = tmp_path_factory.mktemp("made")
    make(folder / "raw", 60, 20, seed=2)
    lake = Lake(folder / "lake")
    return folder / "raw", lake, ingest([folder / "raw"], lake, KNOWN, LIMITS)


def test_every_record_of_the_twin_is_accounted_for(twin: tuple[Path, Lake, Tally]) -> None:
    raw, _, tally = twin
    assert tally.records == tally.landed + tally.quarantined + tally.already_known + sum(
        tally.set_aside.values()
    )
    assert tally.already_known == 0 and tally.problems == []
    names = sorted(Path(p).relative_to(raw).as_posix() for p in tally.unmatched)
    # not facts: how the twin spoilt its files, what it planted, and the values to hold a CAN reader against
    assert names == [
        "README.md",
        *(f"answer_key/{n}" for n in ("can_signals.csv", "dirt.json", "planted.json")),
    ]


def test_what_is_quarantined_is_the_dirt(twin: tuple[Path, Lake, Tally]) -> None:
    raw, lake, tally = twin
    dirt = json.loads((raw / "answer_key/dirt.json").read_text())["files"]
    wrong = {
        "clock_1970": "is the clock right",
        "impossible_value": "must be within",
        "unknown_code": "must match",
        "truncated": "should be one JSON object",
    }
    expected = {
        (path, rule): kinds[kind]["count"]
        for path, kinds in dirt.items()
        for kind, rule in wrong.items()
        if kind in kinds and "/can/" not in path
    }
    held = lake.rows(Quarantined).to_polars()
    found: Counter[tuple[str, str]] = Counter()
    for path, rule in held.select("path", "rule").iter_rows():
        found[Path(path).relative_to(raw).as_posix(), next(w for w in wrong.values() if w in rule)] += 1
    assert found == expected and expected
    strangers = sum(
        k["unknown_code"]["count"] for p, k in dirt.items() if "/can/" in p and "unknown_code" in k
    )
    assert lake.count(NetworkFrame) == tally.rows["network_frame"] == strangers > 0
    assert not any("frame" in rule for rule in tally.set_aside)


def test_what_is_written_twice_or_late_is_one_fact(twin: tuple[Path, Lake, Tally]) -> None:
    _, lake, _ = twin
    for table in (t for t in TABLES.values() if lake.count(t)):
        rows = lake.rows(table).to_polars()
        assert rows.select(pl.struct(table.key).is_duplicated().any()).item() is False, table.title()
    spoilt = lake.rows(Quarantined).to_polars().filter(pl.col("kind") == "builds").height
    assert lake.rows(BuildRecord).to_polars().height + spoilt == 60


def test_bringing_the_twin_in_again_lands_nothing(twin: tuple[Path, Lake, Tally]) -> None:
    raw, lake, first = twin
    again = ingest([raw], Lake(lake.folder), KNOWN, LIMITS)
    assert again.landed == again.quarantined == 0 and not again.rows
    assert again.already_known == again.records == first.records


def test_a_life_that_fails_has_readings_under_its_name(twin: tuple[Path, Lake, Tally]) -> None:
    _, lake, _ = twin
    readings = lake.rows(MachineReading).to_polars()
    lives = set(readings["machine"])
    outcomes = lake.rows(Outcome).to_polars()
    failed = outcomes.filter(pl.col("truth").is_in(["machine_failed", "machine_fails_later"]))
    assert set(failed["subject"]) <= lives
    assert failed.filter(pl.col("truth") == "machine_fails_later")["remaining"].min() > 0  # type: ignore[operator]
    assets = readings.filter(pl.col("signal") == "asset").group_by("machine").agg(pl.col("text").n_unique())
    assert set(assets["text"]) == {1} and set(assets["machine"]) == lives


def test_bus_values_are_those_that_the_twin_meant(twin: tuple[Path, Lake, Tally]) -> None:
    raw, lake, _ = twin
    meant = pl.read_csv(raw / "answer_key/can_signals.csv")
    file = next(f for f in meant["file"] if "/opel/" in f)
    vin = Path(file).name.split("_")[1]
    lines = (raw / file).read_text().splitlines()
    readings = (
        lake.rows(SignalReading)
        .to_polars()
        .filter((pl.col("vin") == vin) & (pl.col("path") == "Vehicle.Chassis.SteeringWheel.Angle"))
    )
    by_time = {round(at.timestamp(), 6): v for at, v in readings.select("read_at", "value").iter_rows()}
    mine = meant.filter((pl.col("file") == file) & (pl.col("signal") == "SteeringAngle"))
    assert mine.height
    for line, value in mine.select("line", "value").iter_rows():
        at = float(lines[line - 1][1:].split(")")[0])
        assert by_time[round(at, 6)] == pytest.approx(value, abs=0.06)  # the signal counts tenths of a degree


frames = st.lists(
    st.tuples(
        st.sampled_from([0x1F0, 0x1EE, 0x7A1, 0x123]),  # two that jeep's DBC knows, two that it does not
        st.binary(max_size=8),
        st.booleans(),
        st.integers(0, 2),
    ),
    max_size=12,
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=frames)
def test_a_frame_becomes_values_or_stays_a_frame_byte_by_byte(
    frames: list[tuple[int, bytes, bool, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bus")
    file = folder / "brands/jeep/can/jeep_ZACNJBB20TP100091_2026-05-23.log"
    file.parent.mkdir(parents=True)
    lines, at = list[str](), 1779515216
    for can_id, data, remote, later in frames:
        at += later  # several frames of one id at one instant are told apart
        lines.append(f"({at}.000000) can0 {can_id:03X}#{'R' if remote else data.hex().upper()}")
    file.write_text("".join(x + "\n" for x in lines))
    lake = Lake(folder / "lake")
    tally = ingest([file], lake, KNOWN, LIMITS)
    assert (tally.landed, tally.quarantined, tally.set_aside.total()) == (len(frames), 0, 0)
    kept = lake.rows(NetworkFrame).to_polars()
    decoded = set(lake.rows(SignalReading).to_polars()["record"])
    assert decoded | set(kept["record"]) == set(range(len(frames))) and not decoded & set(kept["record"])
    for row in kept.iter_rows(named=True):
        can_id, data, remote, _ = frames[row["record"]]
        assert (row["can_id"], row["is_remote"]) == (can_id, remote)
        assert row["data"] == (b"" if remote else data)


# ---------------------------------------------------------------- what the format can say


def written(tmp_path: Path, text: str) -> Dialect:
    path = tmp_path / "d.toml"
    path.write_text('system = "s"\nabout = "a"\nreal = []\nmade_up = []\n' + text)
    return dialects.load(path)


def mapped(d: Dialect, records: dict[str, list[str | None]]) -> tuple[list[dict[str, object]], list[str]]:
    frame = pl.DataFrame(records, schema=dict.fromkeys(records, pl.String)).with_row_index("record")
    found = map_records(frame.with_columns(pl.col("record").cast(pl.Int64)), d.files[0], {}, NOW, "d")
    return [r for f in found.rows.values() for r in said(f)], found.faults["rule"].to_list()


KIND = '[[files]]\nmatch = "x.csv"\nreader = "delimited"\n'


def test_let_fills_in_every_text_and_knows_its_names(tmp_path: Path) -> None:
    d = written(
        tmp_path,
        'let.brand = "ram"\n'
        + KIND.replace("x.csv", "{=brand}/{day}.csv")
        + "set_aside = [{ rule = 'all' }]\n",
    )
    assert d.files[0].match == ("ram/{day}.csv",)
    with pytest.raises(SetupError, match=r"no let\.brnd; did you mean brand"):
        written(tmp_path, 'let.brand = "ram"\n' + KIND.replace("x.csv", "{=brnd}.csv"))


MAINTENANCE = (
    KIND
    + """
split.tag = { by = "/", into = ["kind", "asset"] }
[[files.rows]]
table = "maintenance"
columns.machine = { from = "asset", pattern = '^M\\d$' }
columns.work_order = { from = "words", list = "+" }
columns.done_at = { from = "end", format = "%d.%m.%Y %H:%M" }
columns.minutes = { from = "end", minus = "start", format = "%d.%m.%Y %H:%M" }
columns.usage = { from = "used", minus = "new", within = [0, 10] }
"""
)


def test_pieces_differences_lists_and_limits(tmp_path: Path) -> None:
    records: dict[str, list[str | None]] = {
        "tag": ["press/M1", "press/XX", "M1", "press/M2"],
        "words": ["B+A+", "A", "A", "A"],
        "end": ["01.06.2026 12:30"] * 4,
        "start": ["01.06.2026 12:00", "01.06.2026 12:00", "", ""],
        "used": ["7,5", "9", "9", "20"],
        "new": ["5", "", "", "0"],
    }
    rows, faults = mapped(written(tmp_path, MAINTENANCE.replace("split", 'decimal = ","\nsplit', 1)), records)
    assert rows == [
        {
            "machine": "M1",
            "work_order": "A B",
            "done_at": "2026-06-01T12:30:00Z",
            "usage": 2.5,
            "minutes": 30.0,
        }
    ]
    assert len(faults) == 3  # XX is no machine, one piece is not two, 20 is out of the range stated
    assert set(faults) == {
        "machine must match ^M\\d$, is XX (in asset)",
        "usage must be within 0 .. 10, is 20.0 (in used minus new)",
        "machine is missing (in asset)",
    }


EVENTS = (
    KIND
    + """
keyed.events = { by = "type", into = ["sent.at"] }
[[files.rows]]
table = "outcome"
each = "windows"
columns.truth = { constant = "unusual" }
columns.subject = "events.sent.at"
columns.happened_at = { from = "windows.0", default = "2026-01-01T00:00:00Z" }
"""
)


def test_lists_of_pairs_and_a_row_an_item(tmp_path: Path) -> None:
    records: dict[str, list[str | None]] = {
        "events": ['[{"type": "sent", "at": "x"}, {"type": "came", "at": "y"}]', None, "[]"],
        "windows": ['[["2026-02-01"], [null]]', "[]", "7"],
    }
    rows, faults = mapped(written(tmp_path, EVENTS), records)
    assert [r["happened_at"] for r in rows] == ["2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"]
    assert [r["subject"] for r in rows] == ["x", "x"]
    assert faults == ["windows should be a list: it is something else"]


def test_a_unit_may_carry_a_number(tmp_path: Path) -> None:
    text = (
        KIND
        + '[[files.rows]]\ntable = "energy_reading"\ncolumns.meter = "m"\ncolumns.began_at = "t"\ncolumns.energy_kwh = { from = "e", unit = "0.25 MJ" }\n'
    )
    rows, _ = mapped(written(tmp_path, text), {"m": ["a"], "t": ["2026-01-01"], "e": ["144"]})
    assert rows[0]["energy_kwh"] == pytest.approx(10)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or OWN:
        content = {p.relative_to(SAMPLES / chosen).as_posix(): heard(chosen, p) for p in raw_files(chosen)}
        text = json.dumps(content, ensure_ascii=False, indent=1)
        # a row a line, to be read beside the raw lines
        text = re.sub(r"\n {4,}(?=[}\]])|(?<=[{\[])\n {5,}|(?<=,)\n {5,}", " ", text)
        (SAMPLES / chosen / "expected.json").write_text(text + "\n", encoding="utf-8")
