"""Investigate, in Debian's Chromium: bring a table, ask, narrow, keep, share, print; by keyboard and by thumb."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import test_web
from made_home import empty_home
from test_investigate import SCRIPT, fleet, made
from test_web import SERVE, WIDTHS, Site, Watched, _watch, browser

from unibody.backbone import investigate as asking
from unibody.backbone.investigate import Asked

assert browser  # the fixture of test_web
pytestmark = test_web.pytestmark
HOSTILE = "L7 " + SCRIPT
NOT_EAST, CODE = "line != 'east'", "code = 'C1246'"


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[[Any], Site]]:
    """Start servers, each in a process and on a terminal of its own, and end them."""
    running = []

    def go(backbone: Any) -> Site:
        keyboard, terminal = os.openpty()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "NICEGUI", "UNIBODY"))}
        home = backbone.settings.home.absolute()
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE], stdin=terminal, stdout=subprocess.PIPE, text=True, env=clean | {"UNIBODY_HOME": str(home)}, cwd=home.parent
        )  # fmt: skip
        running.append(server)
        assert server.stdout is not None
        links = server.stdout
        first = links.readline().strip()
        assert "/#code=" in first, "the server did not start"

        def link() -> str:
            os.write(keyboard, b"\n")
            return links.readline().strip()

        return Site(backbone, first.split("/#")[0], link)

    yield go
    for server in running:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def site(start: Callable[[Any], Site], tmp_path_factory: pytest.TempPathFactory) -> Site:
    return start(fleet(tmp_path_factory.mktemp("investigate")))


@pytest.fixture(scope="module")
def table(site: Site) -> str:
    """An uploaded table with a hostile lot; its id."""
    import polars as pl

    content = made().with_columns(pl.col("lot").replace("L7", HOSTILE)).write_csv().encode()
    return str(asking.upload(site.backbone, "units.csv", content, "ada")["id"])


@pytest.fixture(scope="module")
def visitor(browser: Any, site: Site) -> Iterator[Watched]:
    watched = _watch(browser, site)
    watched.page.set_default_timeout(30_000)
    watched.page.goto(site.link())
    watched.page.wait_for_selector("#answer")
    yield watched
    watched.page.context.close()


def pages(table: str) -> dict[str, str]:
    return {
        "begin": "/investigate",
        "found": f"/investigate?table={table}&outcome=failed&cohort={quote(NOT_EAST)}",
        "open": f"/investigate?table={table}&outcome={quote('torque > 40.5')}&attributes=line",
        "wrong": f"/investigate?table={table}&outcome=faild",
        "gone": "/investigate?table=0123456789abcdef&outcome=failed",
        "fleet": f"/investigate?outcome={quote(CODE)}",
    }


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [(n, w, s) for n in pages("") for w in WIDTHS for s in ("light", "dark") if s == "light" or n == "found"],
)
def test_the_page_is_right(visitor: Watched, table: str, name: str, width: int, scheme: str) -> None:
    page = visitor.page
    page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    page.emulate_media(color_scheme=scheme)
    visitor.faults.clear()
    visitor.go(pages(table)[name])
    words = {
        "begin": "Choose what counts as failed", "found": "times as often", "open": "Not enough evidence", "wrong": "did you mean failed",
        "gone": "upload it again", "fleet": "part.brake_hose.lot H3",
    }  # fmt: skip
    page.wait_for_selector(f"#answer :text({words[name]!r})")
    visitor.shot(f"investigate_{name}_{width}_{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), (
        "runs off"
    )
    assert page.evaluate("document.title") == "Investigate · Unibody"
    assert page.locator("main img, main script").count() == 0
    if name in ("found", "fleet"):
        assert page.locator("figure:visible svg:visible").count() >= 2
        small = page.eval_on_selector_all(
            "figure svg text", "all => all.filter(t => t.getBoundingClientRect().width > 0 && t.getBoundingClientRect().height < 10).length"
        )  # fmt: skip
        assert small == 0, "letters too small to read"
    assert visitor.faults == []


def test_a_person_brings_a_table_and_finds_the_cause(visitor: Watched, tmp_path: Path) -> None:
    page = visitor.page
    page.set_viewport_size({"width": 1280, "height": 800})
    made(seed=8).write_csv(tmp_path / "march.csv")
    visitor.go("/")
    page.click("nav a:has-text('Investigate')")
    visitor.settle()
    page.set_input_files("#file", str(tmp_path / "march.csv"))
    page.wait_for_url("**table=*")
    visitor.settle()
    page.fill("#outcome", "failed")
    page.keyboard.press("Enter")
    page.wait_for_selector(".verdict:has-text('lot L7')")
    assert "outcome=failed" in page.url and "add_" not in page.url
    page.select_option("#attribute", "line")
    page.wait_for_selector("#values option[value=north]", state="attached")
    page.fill("[name=add_value]", "north")
    page.keyboard.press("Enter")  # in the value: the condition is added
    page.wait_for_selector(".condition:has-text(\"line = 'north'\")")
    page.wait_for_selector("p:has-text('The cohort failed')")
    here = page.url
    assert "cohort=" in here
    page.click("[aria-label=\"Leave out line = 'north'\"]")
    page.wait_for_selector(".verdict")
    assert "cohort=" not in page.url
    page.go_back()
    page.wait_for_selector(".condition")
    assert page.url == here


def test_it_is_kept_and_opened_again(visitor: Watched, table: str) -> None:
    page = visitor.page
    visitor.go(pages(table)["found"])
    page.wait_for_selector(".verdict")
    page.fill("#keep", "hoses <b>of</b> March")
    page.click("button:has-text('Save')")
    page.wait_for_selector(":text('Kept.')")
    assert asking.saved(visitor.site.backbone)[0]["settings"]["table"] == table
    visitor.go("/investigate")
    page.keyboard.press("j")
    assert "hoses <b>of</b> March" in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Enter")
    page.wait_for_selector(".verdict:has-text('lot L7')")
    assert page.locator(".condition").inner_text().startswith("line != 'east'")
    page.click("button:has-text('Copy link')")
    page.wait_for_selector("button:has-text('Link copied')")
    page.click("a.look-at >> nth=0")
    page.wait_for_selector("figcaption:has-text('How often units fail by')")
    assert "look=" in page.url


def test_report_and_rest_say_the_same(visitor: Watched, table: str) -> None:
    cookies = {c["name"]: c["value"] for c in visitor.page.context.cookies()}
    asked = pages(table)["found"].split("?")[1]
    with httpx.Client(base_url=visitor.site.url, cookies=cookies) as client:
        pdf = client.get(f"/investigate/report.pdf?{asked}")
        assert (
            pdf.status_code == 200
            and pdf.headers["content-type"] == "application/pdf"
            and pdf.content[:5] == b"%PDF-"
        )
        plain = client.get(f"/api/v1/investigate?{asked}").json()
        same = asking.ask(visitor.site.backbone, Asked("failed", "line != 'east'", table)).plain()
        assert plain == same and plain["cause"] == [{"lot": HOSTILE}]
        for wrong, status in (
            ("outcome=faild", 400),
            ("outcome=failed&table=../../etc", 422),
            ("", 422),
            ("outcome=failed&alpha=7", 422),
        ):
            assert client.get(f"/api/v1/investigate?{wrong}").status_code == status, wrong
        large = client.post(
            "/investigate/table",
            headers={"Origin": visitor.site.url},
            files={"file": ("x.csv", b"a,b\n" * 18_000_000)},
        )
        assert large.status_code == 413
        assert (
            client.post("/investigate/table", files={"file": ("x.csv", b"a,b\n1,2\n")}).status_code == 403
        )  # no Origin
    assert httpx.get(f"{visitor.site.url}/api/v1/investigate?outcome=failed").status_code == 401


def test_a_broken_table_is_told_and_not_kept(visitor: Watched, tmp_path: Path) -> None:
    page = visitor.page
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 this is none")
    before = len(asking.uploads(visitor.site.backbone))
    visitor.go("/investigate")
    page.set_input_files("#file", str(tmp_path / "broken.parquet"))
    page.wait_for_selector("[role=alert]:has-text('This table could not be taken')")
    assert "footer" in page.inner_text(".what") and len(asking.uploads(visitor.site.backbone)) == before


def test_an_empty_home_says_how_to_begin(start: Callable[[Any], Site], browser: Any, tmp_path: Path) -> None:
    site = start(empty_home(tmp_path))
    watched = _watch(browser, site, viewport={"width": 390, "height": 844})
    watched.page.goto(site.link())
    watched.page.wait_for_selector("#answer")
    watched.go("/investigate")
    watched.page.wait_for_selector(":text('No car is known yet')")
    assert watched.page.locator(".primary").bounding_box()["height"] >= 44
    watched.go("/investigate?outcome=C1246")
    watched.page.wait_for_selector("[role=alert]:has-text('no car is known yet')")
    assert watched.faults == []
