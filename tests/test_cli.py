"""The command line: every command of the issue, as people and as programs read it, and errors in words."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from made_solution import SOLUTION, USECASE
from small import DIALECT, bolt, write
from test_backbone import raw

from unibody import settings
from unibody.cli import main

TALLY = {"records", "landed", "quarantined", "already_known", "set_aside", "rows", "seconds"}


@pytest.fixture
def unibody(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in a user's folder: its exit code, what it prints, and what it prints beside that."""
    for name in [n for n in os.environ if n.startswith("UNIBODY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("UNIBODY_HOME", str(folder / "home"))
    monkeypatch.setenv("UNIBODY_QUIET_SECONDS", "0")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str, str]:
        settings.current.cache_clear()
        monkeypatch.setattr(sys, "argv", ["unibody", *words])
        code = 0
        try:
            main()
        except SystemExit as e:
            code = int(e.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    def as_json(*words: str) -> Any:
        code, out, err = run(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    run.json = as_json  # type: ignore[attr-defined]
    yield run
    settings.current.cache_clear()


def own(folder: Path) -> None:
    """A user's dialect, solution and use case in the working folder."""
    for name, text in {
        "dialects/small.toml": DIALECT,
        "solutions/warm.py": SOLUTION,
        "usecases/wear.toml": USECASE,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def test_the_day_of_a_user_from_a_file_to_an_approved_decision(folder, unibody):
    own(folder)
    raw(folder)
    write(folder / "raw/bolts_a.csv", [bolt(0), bolt(1, torque="900"), bolt(2, kind="trial")])
    tally = unibody.json("ingest", "raw")
    assert tally.keys() >= TALLY
    assert tally["records"] == tally["landed"] + tally["quarantined"] + tally["already_known"] + sum(
        tally["set_aside"].values()
    )
    assert (tally["quarantined"], tally["set_aside"]) == (1, {"trial run": 1})
    assert unibody.json("ingest", "raw")["landed"] == 0

    status = unibody.json("lake", "status")
    assert status["tables"]["tightening"]["rows"] == 1 and status["quarantined"] == 1
    assert status["sources"]["test.plant"]["files"] == 3
    [row] = unibody.json("lake", "show", "tightening")
    assert row["tightening_id"] == "B0"
    assert unibody.json("lake", "show", "tightening", "--as-of", "2020-01-01") == []
    waiting = unibody.json("lake", "quarantine")
    assert waiting["waiting"] == 1 and "900" in waiting["entries"][0]["rule"]
    assert unibody.json("lake", "replay").keys() >= TALLY
    found = unibody.json("lake", "lineage", row["source"], "--record", "0")
    assert found["rows"]["tightening"][0]["tightening_id"] == "B0"
    assert unibody.json("lake", "compact", "tightening").keys() == {"tightening"}
    assert "outcome" in unibody.json("lake", "compact")

    assert unibody.json("check")["ok"] is True
    [case] = [c for c in unibody.json("usecases") if c["usecase"] == "wear"]
    assert (case["question"], case["score"]) == ("Which machine is worn?", None)
    [score] = unibody.json("judge", "wear")
    assert {
        "usecase",
        "metric",
        "ours",
        "low",
        "high",
        "baseline",
        "chance",
        "beats",
        "units",
        "split",
        "leaks",
    } <= score.keys()
    ran = unibody.json("run", "wear")
    assert ran["decisions"] == ran["new"] > 0 and ran["score"] == score
    decisions = unibody.json("decisions")
    first, second, third = (d["decision_id"] for d in decisions[:3])
    assert unibody.json("decisions", "approve", first, "--note", "seen it")["state"] == "approved"
    assert unibody.json("decisions", "revert", first, "--note", "wrong pump")["state"] == "reverted"
    assert unibody.json("decisions", "dismiss", second, "--note", "no")["state"] == "dismissed"
    shown = unibody.json("decisions", "show", first)
    assert [h["state"] for h in shown["history"]] == ["proposed", "approved", "reverted"]
    assert unibody("decisions", "approve", third)[0] == 2  # without a note

    for words in (["lake", "status"], ["lake", "show", "tightening"], ["lake", "quarantine"], ["usecases"], ["judge", "wear"], ["decisions"], ["decisions", "show", first], ["check"], ["lake", "lineage", row["source"]]):  # fmt: skip
        code, out, err = unibody(*words)
        assert code == 0 and out.strip(), (words, err)


def test_tables_and_settings_are_there_without_a_home(folder, unibody):
    tables = unibody.json("tables")
    assert tables["tightening"]["columns"]["torque_nm"]["unit"] == "N·m"
    (folder / "unibody.toml").write_text("port = 9000\n")
    found = {s["name"]: s for s in unibody.json("settings")}
    assert (found["port"]["value"], found["port"]["source"]) == ("9000", "unibody.toml")
    assert found["home"]["source"] == "UNIBODY_HOME" and found["batch_rows"]["source"] == "default"
    assert all(s["meaning"] for s in found.values())
    assert "9000" in unibody("settings")[1] and "torque_nm" in unibody("tables")[1]


def test_the_twin_is_made(folder, unibody):
    made = unibody.json("twin", "make", "made", "--vehicles", "3", "--days", "2")
    assert made["vehicles"] == 3 and made["files"] == sum(p.is_file() for p in (folder / "made").rglob("*"))


@pytest.mark.slow
def test_up_once_fills_an_empty_lake_and_decides(folder, unibody):
    board = unibody.json("up", "--once", "--vehicles", "200")
    assert board["decisions"] > 0 and board["judged"] and not board["failed"]
    tally = board["ingested"]
    assert tally["records"] == tally["landed"] + tally["quarantined"] + tally["already_known"] + sum(
        tally["set_aside"].values()
    )
    again = unibody.json("up", "--once", "--vehicles", "200")
    assert again["ingested"]["landed"] == 0 and again["decisions"] == board["decisions"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ingest", "nowhere.csv"], "no such file"),
        (["ingest", ".", "--dialect", "smal"], "did you mean small"),
        (["lake", "show", "tightenin"], "did you mean tightening"),
        (["lake", "show", "tightening", "--as-of", "soon"], "soon"),
        (["lake", "lineage", "none"], "no source 'none'"),
        (["run", "waer"], "did you mean wear"),
        (["run"], "name a use case"),
        (["judge", "wear"], "no outcome rows of truth 'worn'"),
        (["decisions", "approve", "x", "--note", "n"], "no decision 'x'"),
        (["twin", "make", "dialects"], "not empty"),
    ],
    ids=" ".join,
)
def test_errors_are_words_and_exit_2(folder, unibody, words, said):
    own(folder)
    for more in ([], ["--json"]):
        code, _, err = unibody(*words, *more)
        assert (code, "Traceback" in err) == (2, False)
        assert said in " ".join(err.split()), err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("unibody.toml", "porrt = 1", "did you mean port"),
        ("unibody.toml", "port = [", "not TOML"),
        ("dialects/bad.toml", "system = 'x'\nabout = 'y'\nfiles = []\nfile = 1", "did you mean files"),
        ("usecases/bad.toml", USECASE + "thruth = 'x'", "thruth"),
        ("solutions/warm.py", "READS = ()", "has no KIND"),
    ],
)
def test_check_finds_what_is_broken(folder, unibody, name, text, said):
    own(folder)
    (folder / name).write_text(text)
    code, _, err = unibody("check")
    assert (code, "Traceback" in err) == (2, False)
    assert said in " ".join(err.split()), err


def test_a_broken_lake_is_said(folder, unibody):
    (folder / "home/lake").mkdir(parents=True)
    (folder / "home/lake/tightening").write_text("no table")
    code, _, err = unibody("lake", "show", "tightening")
    assert code == 2 and "lake" in err and "Traceback" not in err


def test_hostile_words_in_a_file_are_shown_as_they_are(folder, unibody):
    own(folder)
    write(folder / "raw/bolts_a.csv", [bolt(0, station="[red]<script>alert(1)</script>[/red]")])
    unibody.json("ingest", "raw")
    assert "[red]<script>" in unibody("lake", "show", "tightening")[1]


def test_every_command_explains_itself(unibody):
    for words in (["--help"], ["lake", "--help"], ["decisions", "--help"], ["twin", "make", "--help"]):
        code, out, _ = unibody(*words)
        assert code == 0 and "Usage" in out
