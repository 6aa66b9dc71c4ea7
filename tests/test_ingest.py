"""Every record lands once, or is kept with what is wrong with it; nothing is lost by a kill, a copy or a second process."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from small import BOLTS, DIALECT, backbone, bolt, contents, ingest, process, replay, write

from unibody.backbone.ingest import Tally
from unibody.errors import SetupError
from unibody.lake import Quarantined, Source
from unibody.tables import MachineReading, Outcome, Tightening

some = hypothesis(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def balanced(tally: Tally) -> Tally:
    """records = landed + quarantined + already known + set aside, always."""
    parts = tally.landed + tally.quarantined + tally.already_known + sum(tally.set_aside.values())
    assert tally.records == parts, tally.plain()
    return tally


def ids(b, table=Tightening):
    return sorted(r[0] for r in contents(b, table))


def machines(n: int, hours: int, first: int = 0):
    return [
        {
            "machine": f"M{m}",
            "time": f"2026-03-{1 + h // 24:02} {h % 24:02}:00:00",
            "hours": str(h),
            "temp": f"{40 + m + h}.0",
            "load": "0.5",
        }
        for h in range(first, hours)
        for m in range(n)
    ]


# ---- once


def test_the_same_file_again_moved_or_renamed_is_known(tmp_path):
    b = backbone(tmp_path)
    file = write(tmp_path / "raw/bolts_a.csv", [bolt(i) for i in range(10)])
    assert balanced(b.ingest([file])).landed == 10
    before = contents(b, Tightening)
    moved = tmp_path / "else/where/bolts_b.csv"
    moved.parent.mkdir(parents=True)
    shutil.move(file, moved)
    for path in (moved, moved, moved.parent):
        again = balanced(b.ingest([path]))
        assert (again.landed, again.already_known) == (0, 10)
    assert contents(b, Tightening) == before


def test_a_copy_under_another_name_in_the_same_run_lands_nothing(tmp_path):
    b = backbone(tmp_path)
    write(tmp_path / "raw/bolts_a.csv", [bolt(i) for i in range(10)])
    shutil.copy(tmp_path / "raw/bolts_a.csv", tmp_path / "raw/bolts_copy.csv")
    tally = balanced(b.ingest([tmp_path / "raw"]))
    assert (tally.records, tally.landed, tally.already_known) == (20, 10, 10)
    assert len(contents(b, Tightening)) == 10


def test_a_file_of_one_record_lands_once(tmp_path):
    # a Delta app-transaction of version 0 is not "none"
    b = backbone(tmp_path)
    file = write(tmp_path / "bolts_a.csv", [bolt(0)])
    b.ingest([file])
    shutil.rmtree(b.lake.path(Source))  # as if the process died before it noted what it did
    assert balanced(backbone(tmp_path).ingest([file])).records == 1
    assert ids(b) == ["B0"]


def test_a_grown_file_goes_on(tmp_path):
    b = backbone(tmp_path)
    file = write(tmp_path / "bolts_a.csv", [bolt(i) for i in range(10)])
    b.ingest([file])
    for step in (1, 2, 3):
        write(file, [bolt(10 * step + i) for i in range(10)], mode="a")
        tally = balanced(b.ingest([file]))
        assert (tally.landed, tally.already_known) == (10, 10 * step)
    stored = contents(b, Tightening)
    assert len(stored) == 40 and len({r[-2] for r in stored}) == 1
    assert sorted(r[-1] for r in stored) == list(range(40))
    [source] = list(b.sources())
    assert (source["records"], source["landed"]) == (40, 40)


def test_files_that_only_begin_alike_are_two_sources(tmp_path):
    b = backbone(tmp_path)
    common = [bolt(i) for i in range(5)]
    first = write(tmp_path / "bolts_a.csv", common)
    b.ingest([first])
    write(first, [bolt(10 + i) for i in range(5)], mode="a")
    other = write(tmp_path / "bolts_b.csv", common + [bolt(20 + i) for i in range(5)])
    balanced(b.ingest([first, other]))
    assert set(ids(b)) == {f"B{i}" for i in (*range(5), *range(10, 15), *range(20, 25))}
    write(other, [bolt(30)], mode="a")
    assert balanced(b.ingest([other])).landed == 1
    assert balanced(b.ingest([first, other])).landed == 0
    rows = b.lake.rows(Tightening).to_polars()
    assert rows["tightening_id"].n_unique() == rows.height == 16


def test_an_empty_file_and_one_with_only_a_header_are_nobodys_beginning(tmp_path):
    b = backbone(tmp_path)
    (tmp_path / "bolts_0.csv").write_text("")
    write(tmp_path / "bolts_1.csv", [])
    write(tmp_path / "bolts_2.csv", [bolt(1)])
    write(tmp_path / "bolts_3.csv", [bolt(2)])
    balanced(b.ingest([tmp_path]))
    assert ids(b) == ["B1", "B2"]
    write(tmp_path / "bolts_0.csv", [bolt(3)])
    write(tmp_path / "bolts_1.csv", [bolt(4)], mode="a")
    balanced(b.ingest([tmp_path]))
    assert ids(b) == ["B1", "B2", "B3", "B4"]


def test_a_line_still_being_written_waits_for_its_end(tmp_path):
    fresh = {"quiet_seconds": 3600.0}
    file = write(tmp_path / "bolts_a.csv", [bolt(i) for i in range(3)])
    whole = file.read_text()
    file.write_text(whole[:-4])
    tally = balanced(backbone(tmp_path, **fresh).ingest([file]))
    assert (tally.landed, tally.set_aside) == (2, {"unfinished last line": 1})
    file.write_text(whole)
    tally = balanced(backbone(tmp_path, **fresh).ingest([file]))
    assert (tally.landed, tally.already_known) == (1, 2)
    assert ids(backbone(tmp_path)) == ["B0", "B1", "B2"]


def test_a_last_line_without_an_end_lands_when_the_file_is_quiet(tmp_path):
    file = write(tmp_path / "bolts_a.csv", [bolt(i) for i in range(3)], end="")
    assert balanced(backbone(tmp_path, quiet_seconds=3600.0).ingest([file])).landed == 2
    b = backbone(tmp_path)
    assert balanced(b.ingest([file])).landed == 1
    assert balanced(b.ingest([file])).already_known == 3
    assert ids(b) == ["B0", "B1", "B2"]


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_batches_of_any_size_land_the_same(tmp_path, batch):
    rows = [bolt(i) if i % 4 else bolt(i, torque="much") for i in range(11)]
    file = write(tmp_path / "bolts_a.csv", rows)
    b = backbone(tmp_path, batch_rows=batch)
    tally = balanced(b.ingest([file]))
    assert (tally.landed, tally.quarantined) == (8, 3)
    assert sorted(r[-1] for r in contents(b, Tightening)) == [i for i in range(11) if i % 4]


# ---- killed, or several at once


def killed(folder: Path, kills: int, seed: int) -> int:
    """Ingest `folder/raw` with processes that are killed at random moments; how many were alive when it hit them."""
    random_, spans = random.Random(seed), []
    for _ in range(2):  # the first also starts the server that forks
        shutil.rmtree(folder / "home", ignore_errors=True)
        began = time.monotonic()
        process(ingest, folder).join()
        spans.append(time.monotonic() - began)
    shutil.rmtree(folder / "home")
    hit = 0
    for _ in range(kills):
        running = process(ingest, folder)
        time.sleep(spans[-1] * random_.uniform(0, 1))
        running.kill()
        running.join()
        hit += running.exitcode == -signal.SIGKILL
        if not running.exitcode or random_.random() < 0.3:  # begin anew, or all later ones have nothing to do
            shutil.rmtree(folder / "home", ignore_errors=True)
    return hit


def check_kills(tmp_path, kills, files, rows):
    raw = tmp_path / "raw"
    for f in range(files):
        write(
            raw / f"bolts_{f}.csv",
            [bolt(1000 * f + i) if i % 9 else bolt(1000 * f + i, torque="?") for i in range(rows)],
        )
        write(raw / f"machines_{f}.csv", [{**r, "machine": f"{f} {r['machine']}"} for r in machines(3, 40)])
    quiet = backbone(tmp_path / "quiet")
    quiet.ingest([raw])
    shutil.copytree(raw, tmp_path / "shaken/raw")
    assert killed(tmp_path / "shaken", kills, seed=kills) > 0
    shaken = backbone(tmp_path / "shaken")
    balanced(shaken.ingest([tmp_path / "shaken/raw"]))
    for table in (Tightening, MachineReading, Outcome):
        assert contents(shaken, table) == contents(quiet, table), table
    keep = ("from_source", "from_record", "rule", "raw", "state")
    assert [b.lake.stored(Quarantined).select(*keep).to_polars().sort(*keep).rows() for b in (shaken,)] == [
        quiet.lake.stored(Quarantined).select(*keep).to_polars().sort(*keep).rows()
    ]
    assert balanced(shaken.ingest([tmp_path / "shaken/raw"])).landed == 0


def test_killed_eight_times_nothing_is_lost_or_doubled(tmp_path):
    check_kills(tmp_path, kills=8, files=4, rows=200)


@pytest.mark.slow
def test_killed_two_hundred_times_nothing_is_lost_or_doubled(tmp_path):
    check_kills(tmp_path, kills=200, files=30, rows=500)


def together(folder: Path, what) -> list[dict]:
    """The same done by two processes at once; what each says it did."""
    says = [folder / f"said_{i}.json" for i in range(2)]
    running = [process(what, folder, path) for path in says]
    for each in running:
        each.join()
    return [balanced_json(json.loads(path.read_text())) for path in says]


def balanced_json(t: dict) -> dict:
    assert t["records"] == t["landed"] + t["quarantined"] + t["already_known"] + sum(t["set_aside"].values())
    return t


def test_two_processes_on_one_folder_land_each_record_once(tmp_path):
    for f in range(6):
        write(tmp_path / f"raw/bolts_{f}.csv", [bolt(100 * f + i) for i in range(50)])
    tallies = together(tmp_path, ingest)
    assert sum(t["landed"] for t in tallies) == 300
    assert len(contents(backbone(tmp_path), Tightening)) == 300


# ---- last of a group


def test_the_last_row_of_a_group_moves_when_the_file_grows(tmp_path):
    b = backbone(tmp_path)
    file = write(tmp_path / "machines_a.csv", machines(3, 10))
    b.ingest([file])
    assert {(r["subject"], r["usage"]) for r in b.lake.rows(Outcome).to_polars().to_dicts()} == {
        (f"M{m}", 9.0) for m in range(3)
    }
    write(file, machines(3, 20, first=10), mode="a")
    balanced(b.ingest([file]))
    assert {(r["subject"], r["usage"]) for r in b.lake.rows(Outcome).to_polars().to_dicts()} == {
        (f"M{m}", 19.0) for m in range(3)
    }
    assert b.lake.count(MachineReading) == 3 * 20 * 2


# ---- faults


def test_a_faulty_record_is_kept_with_its_place_and_what_would_be_right(tmp_path):
    b = backbone(tmp_path)
    file = write(
        tmp_path / "bolts_a.csv", [bolt(0), bolt(1, torque="5000"), bolt(2, time="soon"), bolt(3, id="")]
    )
    tally = balanced(b.ingest([file]))
    assert (tally.landed, tally.quarantined) == (1, 3)
    entries, waiting = b.quarantine()
    assert waiting == 3
    rules = {e["from_record"]: e["rule"] for e in entries}
    assert "0 .. 600" in rules[1] and "5000" in rules[1]
    assert "tightened_at: 'soon'" in rules[2]
    assert "tightening_id is missing" in rules[3]
    assert json.loads(next(e["raw"] for e in entries if e["from_record"] == 2))["time"] == "soon"


def test_a_line_of_another_width_is_kept_alone(tmp_path):
    b = backbone(tmp_path)
    file = write(tmp_path / "bolts_a.csv", [bolt(i) for i in range(3)])
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], "B9,torn", *lines[2:]]) + "\n")
    tally = balanced(b.ingest([file]))
    assert (tally.landed, tally.quarantined) == (3, 1)
    [entry], _ = b.quarantine()
    assert (entry["from_record"], entry["raw"]) == (1, "B9,torn")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [{k: v for k, v in r.items() if k != "torque"} for r in rows], "no column 'torque'"),
        (
            lambda rows: [{("torque_nm" if k == "torque" else k): v for k, v in r.items()} for r in rows],
            "did you mean torque_nm",
        ),
    ],
    ids=["missing", "renamed"],
)
def test_a_file_without_a_column_is_quarantined_as_a_whole(tmp_path, change, said):
    b = backbone(tmp_path)
    bad = write(tmp_path / "raw/bolts_a.csv", change([bolt(i) for i in range(5)]))
    write(tmp_path / "raw/bolts_b.csv", [bolt(10 + i) for i in range(5)])
    tally = balanced(b.ingest([tmp_path / "raw"]))
    assert (tally.landed, tally.quarantined) == (5, 1)
    [entry], _ = b.quarantine()
    assert said in entry["rule"] and entry["from_record"] == -1 and entry["path"] == str(bad)
    assert balanced(b.ingest([tmp_path / "raw"])).landed == 0


def test_an_extra_column_harms_nothing(tmp_path):
    b = backbone(tmp_path)
    file = write(tmp_path / "bolts_a.csv", [{**bolt(i), "colour": "red"} for i in range(5)])
    assert balanced(b.ingest([file])).landed == 5


def test_a_file_cut_short_goes_on_where_it_broke(tmp_path):
    import gzip

    b = backbone(tmp_path, batch_rows=100)
    toml = tmp_path / "dialects/small.toml"
    toml.write_text(DIALECT.replace('"bolts_{line}.csv"', '["bolts_{line}.csv", "bolts_{line}.csv.gz"]'))
    plain = write(
        tmp_path / "all.txt", [bolt(i, station=str(random.Random(i).random())) for i in range(3000)]
    )
    packed = gzip.compress(plain.read_bytes(), mtime=0)
    file = tmp_path / "bolts_a.csv.gz"
    file.write_bytes(packed[: len(packed) * 2 // 3])
    first = balanced(b.ingest([file]))
    assert first.quarantined == 1 and first.landed < 3000
    file.write_bytes(packed)
    second = balanced(b.ingest([file]))
    assert first.landed + second.landed == 3000
    assert b.quarantine()[1] == 0
    assert len(set(ids(b))) == len(ids(b)) == 3000


def test_a_file_that_cannot_be_opened_does_not_stop_the_others(tmp_path):
    b = backbone(tmp_path)
    write(tmp_path / "raw/bolts_a.csv", [bolt(0)])
    write(tmp_path / "raw/bolts_b.csv", [bolt(1)])
    (tmp_path / "raw/bolts_a.csv").chmod(0)
    try:
        tally = balanced(b.ingest([tmp_path / "raw"]))
    finally:
        (tmp_path / "raw/bolts_a.csv").chmod(0o600)
    assert tally.landed + len(tally.problems) == 2  # root may read it all the same


def test_a_link_that_leaves_the_folder_and_what_is_hidden_are_not_followed(tmp_path):
    b = backbone(tmp_path)
    outside = write(tmp_path / "secret/bolts_x.csv", [bolt(99)])
    write(tmp_path / "raw/bolts_a.csv", [bolt(0)])
    write(tmp_path / "raw/.unfinished/bolts_b.csv", [bolt(1)])
    (tmp_path / "raw/bolts_link.csv").symlink_to(outside)
    (tmp_path / "raw/folder").symlink_to(outside.parent, target_is_directory=True)
    assert balanced(b.ingest([tmp_path / "raw"])).records == 1
    assert ids(b) == ["B0"]


def test_a_named_file_that_is_not_there_or_fits_nothing_is_refused(tmp_path):
    b = backbone(tmp_path)
    with pytest.raises(SetupError, match="no such file"):
        b.ingest([tmp_path / "bolts_a.csv"])
    (tmp_path / "letter.txt").write_text("dear all")
    with pytest.raises(SetupError, match="no dialect"):
        b.ingest([tmp_path / "letter.txt"])
    (tmp_path / "raw").mkdir()
    shutil.copy(tmp_path / "letter.txt", tmp_path / "raw")
    assert b.ingest([tmp_path / "raw"]).unmatched == [str(tmp_path / "raw/letter.txt")]
    with pytest.raises(SetupError, match="did you mean small"):
        b.ingest([tmp_path / "raw"], only="smal")


words = st.sampled_from(["20.5", "", "much", "-3", "1e9", "NaN", '"', "\x00", "3,5", "=1+1", "<script>"])
records = st.lists(
    st.tuples(words, st.sampled_from(["series", "trial", "Trial"]), st.booleans()), max_size=25
)


@some
@given(parts=st.lists(records, min_size=1, max_size=3), batch=st.sampled_from([1, 4, 1000]))
def test_whatever_a_file_holds_each_record_is_accounted_for(tmp_path_factory, parts, batch):
    folder = tmp_path_factory.mktemp("any")
    b = backbone(folder, batch_rows=batch)
    file, total, known = write(folder / "bolts_a.csv", []), 0, 0
    for part in parts:
        with file.open("a", newline="") as f:
            for torque, kind, torn in part:
                made = bolt(total, torque=torque.replace('"', '""'), kind=kind)
                line = ",".join(f'"{v}"' for v in made.values())
                f.write(
                    (line[: len(line) // 2].rstrip('"').rsplit('","', 1)[0] + '"' if torn else line) + "\n"
                )
                total += 1
        tally = balanced(b.ingest([file]))
        assert tally.records - sum(x == -1 for x in [e["from_record"] for e in b.quarantine()[0]]) <= total
        assert tally.already_known == known
        known = tally.records
    stored = contents(b, Tightening)
    assert len({r[-1] for r in stored}) == len(stored)
    assert tally.records == total


# ---- mended


def test_a_mended_dialect_lands_what_waited_exactly_once(tmp_path):
    file = write(
        tmp_path / "bolts_a.csv", [bolt(i) if i % 2 else bolt(i, torque=f"{i},5") for i in range(10)]
    )
    b = backbone(tmp_path)
    assert balanced(b.ingest([file])).quarantined == 5
    again = balanced(b.replay())
    assert (again.landed, again.quarantined) == (0, 5)
    toml = tmp_path / "dialects/small.toml"
    toml.write_text(
        DIALECT.replace(
            'columns.torque_nm = "torque"', 'columns.torque_nm = { from = "torque", decimal = "," }'
        )
    )
    b = backbone(tmp_path)
    assert (balanced(b.replay()).landed, b.quarantine()[1]) == (5, 0)
    assert balanced(b.replay()).records == 0
    assert sorted(r[-1] for r in contents(b, Tightening)) == list(range(10))
    assert balanced(b.ingest([file])).landed == 0


def test_a_replay_killed_before_it_noted_what_it_did_lands_nothing_twice(tmp_path):
    file = write(tmp_path / "bolts_a.csv", [bolt(i, torque=f"{i},5") for i in range(6)])
    backbone(tmp_path).ingest([file])
    toml = tmp_path / "dialects/small.toml"
    toml.write_text(
        DIALECT.replace(
            'columns.torque_nm = "torque"', 'columns.torque_nm = { from = "torque", decimal = "," }'
        )
    )
    home = tmp_path / "home"
    shutil.copytree(home / "lake/_quarantine", tmp_path / "before")
    backbone(tmp_path).replay()
    shutil.rmtree(home / "lake/_quarantine")
    shutil.copytree(tmp_path / "before", home / "lake/_quarantine")
    b = backbone(tmp_path)
    assert balanced(b.replay()).landed == 6
    assert len(contents(b, Tightening)) == 6 and b.quarantine()[1] == 0


def test_two_replays_at_once_land_once(tmp_path):
    file = write(tmp_path / "bolts_a.csv", [bolt(i, torque=f"{i},5") for i in range(40)])
    backbone(tmp_path).ingest([file])
    toml = tmp_path / "dialects/small.toml"
    toml.write_text(
        DIALECT.replace(
            'columns.torque_nm = "torque"', 'columns.torque_nm = { from = "torque", decimal = "," }'
        )
    )
    tallies = together(tmp_path, replay)
    assert sum(t["landed"] for t in tallies) == 40
    assert len(contents(backbone(tmp_path), Tightening)) == 40


@pytest.mark.parametrize("way", ["replay", "ingest"])
def test_a_file_refused_as_a_whole_is_read_again_with_the_mended_dialect(tmp_path, way):
    renamed = [{("moment" if k == "torque" else k): v for k, v in bolt(i).items()} for i in range(5)]
    file = write(tmp_path / "bolts_a.csv", renamed)
    backbone(tmp_path).ingest([file])
    (tmp_path / "dialects/small.toml").write_text(
        DIALECT.replace('columns.torque_nm = "torque"', 'columns.torque_nm = "moment"')
    )
    b = backbone(tmp_path)
    tally = balanced(b.replay() if way == "replay" else b.ingest([file]))
    assert tally.landed == 5 and b.quarantine()[1] == 0
    assert balanced(b.replay()).records == 0
    assert balanced(b.ingest([file])).already_known == 5
    assert ids(b) == [f"B{i}" for i in range(5)]


def test_a_refused_file_that_is_gone_stays_in_quarantine(tmp_path):
    file = write(tmp_path / "bolts_a.csv", [{"id": "x"}])
    b = backbone(tmp_path)
    b.ingest([file])
    file.unlink()
    tally = balanced(b.replay())
    assert (tally.quarantined, b.quarantine()[1]) == (1, 1)
    assert "not there any more" in tally.problems[0]


# ---- lineage


def test_every_row_knows_its_record_and_every_record_its_rows(tmp_path):
    b = backbone(tmp_path)
    b.ingest(
        [
            write(tmp_path / "machines_a.csv", machines(2, 5)),
            write(tmp_path / "bolts_a.csv", [bolt(i) for i in range(4)]),
        ]
    )
    for source in b.sources():
        whole = b.lineage(source["source_id"])["rows"]
        for record in range(source["records"]):
            found = b.lineage(source["source_id"], record)["rows"]
            assert found and all(r["record"] == record for rows in found.values() for r in rows)
        counted = {
            t: sum(
                len(b.lineage(source["source_id"], r)["rows"].get(t, [])) for r in range(source["records"])
            )
            for t in whole
        }
        assert counted == whole
    [reading] = b.lineage(next(s for s in b.sources() if "machines" in s["path"])["source_id"], 3)["rows"][
        "machine_reading"
    ][:1]
    assert (reading["machine"], reading["usage"]) == ("M1", 1.0)
    with pytest.raises(SetupError, match="no source"):
        b.lineage("nowhere")


def test_the_columns_of_the_sample_are_those_of_the_dialect():
    assert tuple(bolt(0)) == BOLTS
