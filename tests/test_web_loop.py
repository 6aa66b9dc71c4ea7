"""The pages of the loop: cases as cards, one case to its approval, down to one car's family tree and back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from made_case import (
    AS_OF,
    CARS,
    FAILING_LOT,
    GOOD_LOT,
    LOT,
    SYMPTOM,
    USECASE,
    WITH_LOT,
    case_home,
    frames,
    of_brand,
    propose,
    traced,
    vin,
)
from made_home import SCRIPT, empty_home
from starlette.testclient import TestClient

from unibody import web
from unibody.backbone import Backbone, family, tracing, watched
from unibody.backbone.pages import Reader
from unibody.errors import RefusedError, SetupError
from unibody.loop.prove import Proof, outcomes
from unibody.loop.rates import Cell
from unibody.tables import Outcome
from unibody.web import curves, drawing
from unibody.web.said import one_line, picture, words
from unibody.web.session import Sessions

CHROMIUM = Path("/usr/bin/chromium")
SERVE = "from unibody import settings, web; from unibody.backbone import Backbone; web.SCHEDULE_SECONDS = 1e6; web.serve(Backbone(settings.current()), 0)"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
]
absent = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"{CHROMIUM} is absent; `apt-get install chromium` brings it"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A home with the case; tests here leave it as it is."""
    return case_home(tmp_path_factory.mktemp("case"))


@pytest.fixture
def mine(home: Backbone, tmp_path: Path) -> Backbone:
    """A copy of the home, to act in."""
    import shutil

    shutil.copytree(home.settings.home, tmp_path / "home")
    return empty_home(tmp_path)


# ---- the cases


def test_a_case_comes_with_all_that_belongs_to_it(home: Backbone) -> None:
    (found,) = tracing.cases(home)
    assert found["cause"] == [{f"part.{SYMPTOM}.lot": LOT}]
    assert set(found["vins"]) == {vin(i) for i in WITH_LOT}
    assert found["decisions"][0]["action"] == "accept the cause"
    assert {d["action"] for d in found["decisions"]} == {
        "accept the cause", "hold the lot", "tell the supplier", "service campaign", "instruct the dealers",
    }  # fmt: skip
    opened = tracing.case(home, found["bundle"])
    assert opened["proof"] is None
    for d in opened["decisions"]:
        assert (d["message"] is None) == (d["counter"] is None) == (d["action"] == "accept the cause")
        assert d["to"] == []  # no writer is configured
    with pytest.raises(SetupError, match="no case 'nothing'"):
        tracing.case(home, "nothing")


def test_a_second_cause_of_the_same_failures_is_in_the_case() -> None:
    """Each cause has a bundle of its own; a person decides about both at once."""
    head = {
        "kind": "case",
        "bundle": "b1",
        "brand": "jeep",
        "symptom": "s",
        "since": "2026-01-01T00:00:00+00:00",
        "verdict": "",
        "cause": [{"lot": "1"}, {"tool": "2"}],
    }
    about = {"kind": "case", "brand": "jeep", "symptom": "s"}

    def row(name: str, bundle: str, evidence: list[Any]) -> dict[str, Any]:
        return {"decision_id": name, "usecase": "loop", "bundle": bundle, "evidence": evidence} | {
            k: None for k in tracing.SHOWN if k != "decision_id"
        }

    rows = [
        row("hold", "b1", [{**about, "cause": {"lot": "1"}}]),
        row("stop", "b2", [{**about, "cause": {"tool": "2"}}]),
        row("open", "b1", [head]),
        row("other symptom", "b3", [{**about, "symptom": "t", "cause": {"tool": "2"}}]),
        row("other brand", "b4", [{**about, "brand": "opel", "cause": {"tool": "2"}}]),
        row("hostile", "b5", ["no object", 3, None]),
    ]
    backbone: Any = SimpleNamespace(
        usecases={"loop": SimpleNamespace(name="loop", solution="loop")}, decisions=lambda: rows
    )
    (found,) = tracing.cases(backbone)
    assert [d["decision_id"] for d in found["decisions"]] == ["open", "hold", "stop"]


def test_all_or_none_and_only_what_was_seen(mine: Backbone) -> None:
    (found,) = tracing.cases(mine)
    seen = {d["decision_id"]: d["revision"] for d in found["decisions"]}
    with pytest.raises(RefusedError, match="1 of 5 proposals changed since this was shown"):
        tracing.move(mine, {**seen, next(iter(seen)): 7}, "approved", "ada", "")
    one = found["decisions"][1]["decision_id"]
    mine.move(one, "dismissed", "bob", "known")
    with pytest.raises(RefusedError, match="is dismissed"):
        tracing.move(mine, seen, "approved", "ada", "")
    states = mine.ledger.states(seen)
    assert {i: s.state for i, s in states.items()} == {
        i: "dismissed" if i == one else "proposed" for i in seen
    }
    del seen[one]
    tracing.move(mine, seen, "approved", "ada", "agreed")
    assert {s.state for s in mine.ledger.states(seen).values()} == {"approved"}


def test_new_evidence_is_shown_before_it_is_approved(mine: Backbone) -> None:
    (found,) = tracing.cases(mine)
    seen = {d["decision_id"]: d["revision"] for d in found["decisions"]}
    tables = frames()
    later = tables["trouble_code"].head(1).with_columns(vin=pl.lit(vin(19)))
    tables["trouble_code"] = pl.concat([tables["trouble_code"], later])
    propose(mine, traced(tables))
    with pytest.raises(RefusedError, match="look again"):
        tracing.move(mine, seen, "approved", "ada", "")


def test_the_last_proof_is_the_effect(mine: Backbone) -> None:
    (found,) = tracing.cases(mine)
    cell = Cell(1, 1.0, 1.0)
    for day, ratio in ((1, 0.9), (30, 0.17)):
        proof = Proof(
            ratio,
            ratio / 2,
            ratio * 1.7,
            0.99,
            cell,
            cell,
            cell,
            cell,
            0.0,
            0.5,
            None,
            1,
            0,
            AS_OF,
            AS_OF + timedelta(days=day),
        )
        now = datetime.now(UTC)
        rows = outcomes(found["bundle"], proof).with_columns(
            known_at=pl.lit(now, pl.Datetime("us", "UTC")),
            known_assumed=False,
            deleted=False,
            record=pl.int_range(pl.len(), dtype=pl.Int64),
        )
        mine.lake.append(Outcome, rows, f"proof {day}", "made", now, rows.height)
    effect = tracing.case(mine, found["bundle"])["proof"]
    assert (round(effect["reduction"], 2), round(effect["low"], 2), effect["label"]) == (0.83, 0.71, "proven")


# ---- what is watched besides


def test_a_look_counts_and_names_no_vehicle(mine: Backbone) -> None:
    assert (
        watched.looked(mine) == [] and watched.keep_looking(mine) == 0
    )  # nothing ran: nothing to look again for
    assert watched.look_now(mine) == 1
    (look,) = watched.looked(mine)
    assert look["cars"] == CARS
    assert {(w["brand"], w["symptom"], w["failed"], w["says"]) for w in look["watched"]} == {
        ("jeep", SYMPTOM, 30, "stands out")
    }
    assert [s["symptom"] for s in look["called"]] == [SYMPTOM] and look["held"] == []
    counted = {p["what"]: p["count"] for p in look["problems"]}
    assert counted["one serial on several vehicles"] == 1
    text = (mine.settings.home / "loop" / f"{USECASE}.json").read_text()
    assert not re.search("[A-HJ-NPR-Z0-9]{17}", text)
    (mine.settings.home / "loop" / f"{USECASE}.json").write_text('{"watched": 3')
    assert watched.looked(mine) == []  # a torn file is no look


def test_after_a_run_it_is_looked_once(mine: Backbone) -> None:
    run = mine.ledger.begin_run(USECASE, "made")
    mine.ledger.end_run(run, 5)
    assert [watched.keep_looking(mine), watched.keep_looking(mine)] == [1, 0]


# ---- one car, and those that have the same


def test_a_car_is_followed_into_its_parts(home: Backbone) -> None:
    car = family.vehicle(home, vin(6))
    tree = [(p["position"], p["level"], p["lot"], p["supplier"]) for p in car["parts"]]
    assert tree == [
        ("brake_caliper", 0, "C0", "S-9"),
        ("piston", 1, "P-77", "S-30"),
        (SYMPTOM, 0, LOT, "S-22"),
    ]
    assert [(e["lane"], e["what"]) for e in car["events"]] == [
        ("life", "built"),
        ("code", "C1246"),
        ("visit", f"{SYMPTOM} · C1246"),
    ]
    assert [t["bolt"] for t in car["tightenings"]] == [SYMPTOM]


def test_a_serial_that_two_cars_carry_is_said(home: Backbone) -> None:
    twins = {
        i: [p["also_on"] for p in family.vehicle(home, vin(i))["parts"] if p["position"] == "brake_caliper"]
        for i in (0, 239, 5)
    }
    assert twins == {0: [1], 239: [1], 5: [0]}


@pytest.mark.parametrize(
    ("kind", "name", "position", "cars", "failing"),
    [
        ("lot", LOT, "", 40, 24),
        ("lot", LOT, SYMPTOM, 40, 24),
        (
            "lot",
            "P-77",
            "",
            4,
            len({6, 7, 12, 13} & {*FAILING_LOT, 13}),
        ),  # a part in a part: followed up to its car
        ("supplier", "S-22", "", CARS, 30),
        ("sub-supplier", f"SS {SCRIPT}", "", CARS, 30),
        ("station", "4.18", "", CARS, 30),
        ("tool", "T-0", "", 120, None),
    ],
)
def test_what_cars_have_in_common(
    home: Backbone, kind: str, name: str, position: str, cars: int, failing: int | None
) -> None:
    found = family.carriers(home, kind, name, position)
    assert (found["cars"], found["others"]) == (cars, CARS - cars)
    assert failing is None or found["failing"] == failing
    assert len(found["rows"]) == min(cars, family.CARS_SHOWN)
    reports = [bool(r["symptom"]) for r in found["rows"]]
    assert reports == sorted(reports, reverse=True)  # those that failed come first


def test_nobody_is_told_of_what_is_not_there(home: Backbone) -> None:
    for ask in (
        lambda: family.vehicle(home, "' or 1=1 --"),
        lambda: family.carriers(home, "lot", "none"),
        lambda: family.carriers(home, "lot", LOT, "elsewhere"),
        lambda: family.carriers(home, "colour", "red"),
    ):
        with pytest.raises(SetupError, match=r"^no "):
            ask()
    reads = home.ledger.reads(50)
    assert {r["by"] for r in reads} == {"family_tree"} and "part_installed" in {
        r["table_name"] for r in reads
    }  # the gate was asked


# ---- words and pictures


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"part.brake_hose_front.lot": "L7"}, "lot L7 of brake hose front"),
        ({"part.axle/bearing.sub_supplier": "SS-1"}, "sub-supplier SS-1 of axle/bearing"),
        ({"torque.belt": [None, 38.2]}, "torque of belt up to 38.2 N·m"),
        (
            {"tool.rack": "T-12", "built_at": ["2026-03-04T00:00:00", None]},
            "tool T-12 of rack and built from 2026-03-04 on",
        ),
        ({"software.ABS": "7.0.5", "hardware.ABS": "B"}, "software 7.0.5 of ABS and hardware B of ABS"),
        ({"option.TOW": True, "climate": "hot"}, "with option TOW and climate hot"),
        ({"plant": None}, "plant not stated"),
        ({"odometer_km": [8000.0, None]}, "distance in km from 8000 on"),
    ],
)
def test_conditions_in_words(conditions: dict[str, Any], said: str) -> None:
    assert words(conditions) == said


def test_figures_that_json_cannot_hold_are_drawn_all_the_same(home: Backbone) -> None:
    (found,) = tracing.cases(home)
    endless = {**found, "causes": [{**found["causes"][0], "effect": None, "high": None}]}
    assert "far more often than the others (at least" in one_line(endless)
    vast = {**found, "causes": [{**found["causes"][0], "effect": 2e9, "low": 3e8, "high": 1e10}]}
    assert "far more often than the others (over 1,000, 95 %)" in one_line(vast)
    made = found["pictures"][0]
    torn = {
        **made,
        "rate": None,
        "later": 1,
        "groups": [{**g, "rate": None, "high": None, "label": SCRIPT} for g in made["groups"]],
    }
    svg = drawing.svg(curves.small(picture(torn), 340, 3), SCRIPT)
    assert "<script" not in svg and "<img" not in svg
    scope = found["scopes"][0]
    nobody_knows = [{**c, "risk_eur": None} for c in scope["choices"]]
    assert curves.curve(nobody_knows, nobody_knows[0], "risk_eur", "EUR", 340).height > 0
    assert curves.lane([], 340).shapes == ()


def test_rest_gives_cases(home: Backbone) -> None:
    sessions, reader = Sessions("ada"), Reader(home)
    _, guard = web.build(reader, sessions, 8420)
    with TestClient(guard, base_url="http://127.0.0.1:8420") as client:  # type: ignore[arg-type]
        assert client.get("/api/v1/cases").status_code == 401
        client.post("/login", json={"code": sessions.new_code()}, headers={"Origin": "http://127.0.0.1:8420"})
        every = client.get("/api/v1/cases").json()
        assert every["total"] == 1 and every["items"] == json.loads(
            json.dumps(tracing.cases(home), default=str)
        )
        one = client.get(f"/api/v1/cases/{every['items'][0]['bundle']}").json()
        assert len(one["decisions"]) == 5 and one["proof"] is None
        assert client.get("/api/v1/cases/none").status_code == 404
    reader.close()


# ---- in the browser


@pytest.fixture(scope="module")
def servers() -> Iterator[Any]:
    """Start servers, each a process; give the address that signs in."""
    running = []

    def go(backbone: Backbone) -> str:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "NICEGUI", "UNIBODY"))}
        s = backbone.settings
        places = {
            f"UNIBODY_{k.upper()}": str(getattr(s, k)) for k in ("home", "dialects", "usecases", "solutions")
        }
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=clean | places,
        )
        running.append(server)
        assert server.stdout is not None
        link = server.stdout.readline().strip()
        assert "/#code=" in link, "the server did not start"
        return link

    yield go
    for server in running:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield found
        found.close()


class Person:
    """Somebody at a browser; faults of the page are counted."""

    def __init__(self, chromium: Any, link: str, width: int = 1280) -> None:
        self.page, self.site, self.faults = (
            chromium.new_context(viewport={"width": width, "height": 844}).new_page(),
            link.split("/#")[0],
            [],
        )
        self.page.set_default_timeout(15_000)
        self.page.on(
            "console", lambda m: self.faults.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda e: self.faults.append(str(e)))
        self.page.goto(link)
        self.settle()

    def go(self, path: str) -> None:
        self.page.goto(self.site + path)
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_selector("#answer")
        self.page.wait_for_function("!document.querySelector('[aria-busy=true]')")

    def is_right(self) -> None:
        """Nothing runs off the side, nothing out of data is more than text, nothing is wrong on the console."""
        assert self.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        assert self.page.title() != "owned" and self.page.locator("main img, main script").count() == 0
        assert self.faults == []


@pytest.fixture(scope="module")
def acted(tmp_path_factory: pytest.TempPathFactory, home: Backbone, servers: Any) -> tuple[Backbone, str]:
    """A served copy of the home."""
    import shutil

    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(home.settings.home, folder / "home")
    backbone = empty_home(folder)
    return backbone, servers(backbone)


@pytest.fixture(scope="module")
def person(chromium: Any, acted: tuple[Backbone, str]) -> Person:
    return Person(chromium, acted[1])


@pytest.mark.browser
@absent
def test_down_to_one_car_and_back(person: Person, home: Backbone) -> None:
    page, (found,) = person.page, tracing.cases(home)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme="dark" if width == 390 else "light")
        person.go("/loop")
        assert SYMPTOM.replace("_", " ") in page.inner_text(".loop-card h2") and "0 of 5" in page.inner_text(
            ".steps"
        )
        person.is_right()
        page.click(".loop-card")
        person.settle()
        assert f"cars with lot {LOT} of brake hose front" in page.inner_text(".verdict")
        assert page.locator(".proposal").count() == 5 and "Not acted yet" in page.inner_text("main")
        person.is_right()
        page.click("a.mono >> nth=0")
        page.wait_for_selector(".chain .cause")
        assert LOT in page.inner_text(".chain .cause")
        person.is_right()
        page.click(".chain .cause a")
        page.wait_for_selector("h2:has-text('The cars: 40')")
        person.is_right()
        page.click("a.back")
        page.wait_for_selector(".family")
        page.click("a.back")
        page.wait_for_selector(".proposals")
        assert page.url == f"{person.site}/loop/{found['bundle']}"
    page.set_viewport_size({"width": 1280, "height": 844})


@pytest.mark.browser
@absent
def test_hostile_words_and_wrong_addresses(person: Person) -> None:
    page = person.page
    person.go(f"/vehicle/{vin(6)}")
    assert SCRIPT in page.inner_text("table")  # what a customer said, and a sub-supplier's name
    page.click(f"a:has-text('{'SS <script>'}') >> nth=0")
    page.wait_for_selector("h2:has-text('The cars: 240')")
    assert SCRIPT in page.inner_text("h2.big")
    person.is_right()
    for path, says in (
        ("/vehicle/NOBODY", "no vehicle 'NOBODY'"),
        ("/loop/none", "no case 'none'"),
        ("/lot/none%3Cb%3E", "no car has lot 'none<b>'"),
    ):
        person.go(path)
        assert says in page.inner_text("[role=alert]") and "Nothing was changed" in page.inner_text(
            "[role=alert]"
        )
    person.go(f"/lot/{GOOD_LOT}?case=gone")  # the case one came from is no more
    assert "80" not in page.inner_text("h1") and page.locator("[role=alert]").count() == 0
    person.go("/loop")
    page.fill("input[name=vin]", vin(6).lower())
    page.keyboard.press("Enter")
    page.wait_for_selector(f"code.vin:has-text('{vin(6)}')")
    person.is_right()


@pytest.mark.browser
@absent
def test_who_has_never_seen_it_finds_the_cause_and_approves_its_cure(
    person: Person, acted: tuple[Backbone, str]
) -> None:
    """From Home, by what the pages say alone, to a ledger that holds all of the case as approved."""
    mine, page = acted[0], person.page
    person.go("/")
    page.wait_for_selector("h2:has-text('Needs a decision')")
    assert "wait for a person" in page.inner_text("main")
    page.wait_for_selector("nav a:has-text('Loop') .badge:has-text('1')")  # one case waits
    page.click("nav a:has-text('Loop')")
    person.settle()
    assert "1 case needs a decision" in page.inner_text("main")
    assert f"Lot {LOT} of brake hose front: fails" in page.inner_text(".loop-card")
    page.click(".loop-card")
    person.settle()
    assert "lot L 77/41 of brake hose front" in page.inner_text(".shared .cause")
    before = page.inner_text(".act")  # the consequence, before the click
    assert (
        "All 5 or none: 40 cars" in before
        and "EUR" in before
        and "can be undone until dispatch" in before.lower()
    )
    page.click("button:has-text('Approve all (5)')")
    page.wait_for_selector("#note")
    assert {d["state"] for d in tracing.cases(mine)[0]["decisions"]} == {"proposed"}  # asked once more
    page.fill("#note", "hold it today")
    page.click(".confirm .primary")
    page.wait_for_selector(".chip.approved")
    (found,) = tracing.cases(mine)
    states = mine.ledger.states([d["decision_id"] for d in found["decisions"]])
    assert len(states) == 5
    assert {(s.state, s.note) for s in states.values()} == {("approved", "hold it today")}
    assert len({s.at for s in states.values()}) == 1  # in one transaction
    assert "5 of 5" in page.inner_text(".steps")
    page.click("button:has-text('Take back (5)')")
    page.fill("#note", "a wrong lot")
    page.click(".confirm .danger")
    page.wait_for_selector(".chip.reverted")
    assert {s.state for s in mine.ledger.states(list(states)).values()} == {"reverted"}
    person.is_right()


@pytest.mark.browser
@absent
def test_dismiss_one_by_keyboard_needs_a_reason(person: Person, acted: tuple[Backbone, str]) -> None:
    backbone, page = acted[0], person.page
    propose(backbone, of_brand("opel"))  # a case of its own: what others approved stays as it is
    found = next(c for c in tracing.cases(backbone) if c["brand"] == "opel")
    person.go(f"/loop/{found['bundle']}")
    page.keyboard.press("d")
    page.wait_for_selector(".confirm :text('Mark one that waits first')")
    dealers = [d["action"] for d in found["decisions"]].index("instruct the dealers")
    for _ in range(dealers + 1):
        page.keyboard.press("j")
    page.keyboard.press("d")
    page.wait_for_function("document.activeElement?.id === 'note'")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".confirm :text('Say why you dismiss it')")
    page.keyboard.type("they know: a j k d")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".chip.dismissed")
    states = {
        d["action"]: (d["state"], d["note"]) for d in tracing.case(backbone, found["bundle"])["decisions"]
    }
    assert states.pop("instruct the dealers") == ("dismissed", "they know: a j k d")
    assert {s for s, _ in states.values()} == {"proposed"}
    assert person.faults == []


@pytest.mark.browser
@absent
def test_an_empty_home_says_what_will_come(tmp_path: Path, servers: Any, chromium: Any) -> None:
    person = Person(chromium, servers(case_home(tmp_path, empty=True)), 390)
    person.go("/loop")
    text = person.page.inner_text("main")
    assert "No case yet" in text and "unibody trace" in text and "appear here after a look" in text
    person.page.click("button:has-text('Look now')")
    person.page.wait_for_selector("h2:has-text('Watched and quiet: 0 symptoms')")
    assert "Nothing stands out" in person.page.inner_text("main")
    person.is_right()
