"""The pages, in Debian's Chromium: sign-in, every page at two widths, decisions by keyboard and by click."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from made_home import HOSTILE, MACHINE, SCRIPT, decided, empty_home, make_home, propose

from unibody.backbone import Backbone

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists(), reason=f"{CHROMIUM} is absent; `apt-get install chromium` brings it"
    ),
]
SERVE = "from unibody import settings, web; from unibody.backbone import Backbone; web.serve(Backbone(settings.current()), 0)"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
]
WIDTHS = {1280: 800, 390: 844}
PAGES = {
    "home": "/", "inbox": "/decisions", "inbox all": "/decisions?state=all&q=pump", "no match": "/decisions?q=nowhere", "decision": f"/decisions?id={decided(MACHINE)}",
    "hostile decision": f"/decisions?id={decided(HOSTILE)}", "missing decision": "/decisions?id=0000", "data": "/data", "system": "/data?system=test.pumps",
    "table": "/data/table?name=machine_reading", "missing table": "/data/table?name=nothing", "quarantine": "/data/quarantine",
    "machine": "/data/machine?name=pump+1", "use cases": "/usecases", "use case": "/usecases/pump_life", "not judged": "/usecases/never_judged", "search": "/search?q=pump",
}  # fmt: skip
DARK = ("home", "decision", "data")


@dataclass
class Site:
    """A running server and its home."""

    backbone: Backbone
    url: str
    link: Callable[[], str]


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[[Backbone], Site]]:
    """Start servers, each in a process and on a terminal of its own, and end them."""
    running = []

    def go(backbone: Backbone) -> Site:
        keyboard, terminal = os.openpty()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "NICEGUI", "UNIBODY"))}
        settings = {
            f"UNIBODY_{k.upper()}": str(v) for k, v in backbone.settings.model_dump().items() if v != ()
        }
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE], stdin=terminal, stdout=subprocess.PIPE, text=True, env=clean | settings, cwd=backbone.settings.dialects.parent
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
def site(start: Callable[[Backbone], Site], tmp_path_factory: pytest.TempPathFactory) -> Site:
    return start(make_home(tmp_path_factory.mktemp("web")))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield found
        found.close()


@dataclass
class Watched:
    """A page whose faults are counted."""

    page: Any
    site: Site
    faults: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(self.site.url + path)
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_selector("#answer")
        self.page.wait_for_function("!document.querySelector('[aria-busy=true]')")

    def shot(self, name: str) -> None:
        if os.environ.get("UNIBODY_SHOTS"):  # to be looked at by a person
            self.page.wait_for_timeout(700)
            self.page.screenshot(path=str(Path(os.environ["UNIBODY_SHOTS"]) / f"{name}.png"))


def _watch(browser: Any, site: Site, **more: Any) -> Watched:
    page = browser.new_context(**more).new_page()
    page.set_default_timeout(10_000)
    watched = Watched(page, site)
    page.on(
        "console",
        lambda m: watched.faults.append(f"console: {m.text}") if m.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda e: watched.faults.append(f"script: {e}"))
    page.on(
        "request",
        lambda r: watched.faults.append(f"outside: {r.url}") if not _ours(r.url, site.url) else None,
    )
    page.on(
        "websocket",
        lambda w: (
            watched.faults.append(f"outside: {w.url}")
            if not _ours(w.url.replace("ws:", "http:"), site.url)
            else None
        ),
    )
    return watched


def _ours(url: str, site: str) -> bool:
    return url.startswith((f"{site}/", "data:"))


@pytest.fixture(scope="module")
def visitor(browser: Any, site: Site) -> Iterator[Watched]:
    watched = _watch(browser, site)
    watched.page.goto(site.link())
    watched.page.wait_for_selector("#answer")
    yield watched
    watched.page.context.close()


def test_link_signs_in_once(browser: Any, site: Site) -> None:
    link = site.link()
    first, second = _watch(browser, site), _watch(browser, site)
    first.page.goto(link)
    first.page.wait_for_selector("h1:has-text('Is the backbone well')")
    assert "#" not in first.page.url and "code" not in first.page.url
    cookie = first.page.context.cookies()[0]
    assert (
        cookie["httpOnly"]
        and cookie["sameSite"] == "Strict"
        and cookie["name"] not in first.page.evaluate("document.cookie")
    )
    second.page.goto(link)
    second.page.wait_for_selector("#say:has-text('was used already')")
    assert second.page.url.startswith(f"{site.url}/login") and "#" not in second.page.url
    second.page.goto(
        f"{site.url}/decisions?q=pump"
    )  # without a session every page leads to sign-in, and back
    code = site.link().split("#")[1]
    second.page.goto(f"{second.page.url}#{code}")
    second.page.reload()
    second.page.wait_for_selector("h1:has-text('What needs a decision today?')")
    assert second.page.url == f"{site.url}/decisions?q=pump"
    assert first.faults == [] and [f for f in second.faults if "403" not in f] == []


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        (n, w, s)
        for n in PAGES
        for w in WIDTHS
        for s in ("light", "dark")
        if s == "light" or n in DARK or os.environ.get("UNIBODY_SHOTS")
    ],
)
def test_page_is_right(visitor: Watched, name: str, width: int, scheme: str) -> None:
    visitor.page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    visitor.page.emulate_media(color_scheme=scheme)
    visitor.faults.clear()
    visitor.go(PAGES[name])
    if name == "decision":
        visitor.page.wait_for_selector(".plot svg path", state="attached")
    visitor.shot(f"{name.replace(' ', '_')}_{width}_{scheme}")
    assert visitor.page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    ), "runs off the side"
    assert (
        visitor.page.evaluate("document.title") != "owned"
        and visitor.page.locator("main img, main script").count() == 0
    )
    if name.startswith("missing"):
        assert (
            "This could not be shown" in visitor.page.inner_text("[role=alert]")
            and "nothing" in visitor.page.inner_text(".what") + "nothing"
        )
    assert visitor.faults == []


def test_no_link_is_dead(visitor: Watched) -> None:
    found = set()
    for path in (
        "/",
        PAGES["decision"],
        "/data",
        PAGES["system"],
        PAGES["table"],
        "/usecases",
        PAGES["use case"],
        PAGES["search"],
    ):
        visitor.go(path)
        if path == PAGES["decision"]:
            visitor.page.wait_for_selector(".multiples a.more")
        found |= set(visitor.page.eval_on_selector_all("a[href]:not(.skip)", "all => all.map(a => a.href)"))
    assert all(_ours(link, visitor.site.url) for link in found)
    one_each = {link.split("?")[0]: link for link in sorted(found)}
    assert len(one_each) >= 9
    for link in one_each.values():
        visitor.go(link.removeprefix(visitor.site.url))
        assert visitor.page.locator("[role=alert]").count() == 0, link
        assert visitor.page.locator("#answer > *").count() > 0, link


def test_what_the_schedule_could_not_run_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import threading

    from unibody import web
    from unibody.backbone.pages import Reader
    from unibody.web.shell import Web

    stop, backbone = threading.Event(), empty_home(tmp_path)
    answers = iter([{"pump_life": "no readings"}])

    def keep(_: Backbone, seen: dict[str, int]) -> dict[str, str]:
        found = next(answers, None)
        if found is None:
            stop.set()
            raise ValueError("a solution's own mistake")
        return found

    monkeypatch.setattr(web, "SCHEDULE_SECONDS", 0.01)
    monkeypatch.setattr(web, "keep_schedule", keep)
    pages = Web(Reader(backbone), "ada")
    kept = []
    monkeypatch.setattr(pages.reader, "forget", lambda: kept.append(pages.failed))
    web._schedule(pages, backbone, stop)
    assert kept == [{"pump_life": "no readings"}, {"schedule": "ValueError: a solution's own mistake"}]


def test_script_in_a_raw_record_is_text(visitor: Watched) -> None:
    visitor.go("/data/quarantine")
    assert "<script>document.title='owned'</script>" in visitor.page.inner_text("pre.raw")
    visitor.go(f"/decisions?id={decided(HOSTILE)}")
    assert SCRIPT in visitor.page.inner_text("h2.big") and visitor.page.title() != "owned"
    visitor.go("/search?q=" + "%3Cscript%3Edocument.title%3D'owned'%3C%2Fscript%3E")
    assert "<script>document.title" in visitor.page.inner_text("h1") and visitor.page.title() != "owned"


def test_approve_by_keyboard(visitor: Watched) -> None:
    page, ledger = visitor.page, visitor.site.backbone.ledger
    propose(visitor.site.backbone, ["key 1", "key 2", "key 3"])
    page.set_viewport_size({"width": 1280, "height": 800})
    time.sleep(3.1)  # what is kept of the list is at most three seconds old
    visitor.go("/decisions?q=key")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert "key 1" in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2.big:has-text('key 1')")
    assert decided("key 1") in page.url  # the address brings this back
    assert "approved, not sent: no writer configured" in page.inner_text(".act")  # before the click
    page.keyboard.press("a")
    page.wait_for_function("document.activeElement?.id === 'note'")
    assert ledger.states([decided("key 1")])[decided("key 1")].state == "proposed"
    page.keyboard.type("looks right, a j d")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".facts dd:has-text('approved, not sent')")
    state = ledger.states([decided("key 1")])[decided("key 1")]
    assert (state.state, state.note) == ("approved", "looks right, a j d") and state.by
    page.wait_for_selector(".row.on .chip:has-text('approved')")  # in its place: the list did not jump
    page.reload()
    visitor.settle()
    assert "approved" in page.inner_text(".detail .history") and "looks right" in page.inner_text(
        ".detail .history"
    )


def test_dismiss_needs_a_reason_and_revert_goes_back(visitor: Watched) -> None:
    page, ledger = visitor.page, visitor.site.backbone.ledger
    visitor.go(f"/decisions?id={decided('key 2')}")
    page.keyboard.press("d")
    page.wait_for_function("document.activeElement?.id === 'note'")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".confirm :text('Say why you dismiss it')")
    page.keyboard.type("known, planned for Friday")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".facts dd:has-text('dismissed')")
    assert ledger.states([decided("key 2")])[decided("key 2")].note == "known, planned for Friday"
    visitor.go(f"/decisions?state=all&id={decided('key 1')}")
    page.click("button:has-text('Revert…')")
    page.fill("#note", "wrong pump")
    page.click(".confirm .danger")
    page.wait_for_selector(".facts dd:has-text('reverted')")
    assert ledger.states([decided("key 1")])[decided("key 1")].state == "reverted"


def test_approve_by_thumb(visitor: Watched) -> None:
    page = visitor.page
    page.set_viewport_size({"width": 390, "height": 844})
    visitor.go("/decisions?q=key")
    page.click(".row:has-text('key 3')")
    page.click(".act .primary")
    page.click(".confirm .primary")
    page.wait_for_selector(".facts dd:has-text('approved, not sent')")
    assert visitor.site.backbone.ledger.states([decided("key 3")])[decided("key 3")].state == "approved"
    box = page.locator(".act button").first.bounding_box()
    assert box["height"] >= 44
    page.go_back()
    page.wait_for_selector(".list", state="visible")
    assert page.url == f"{visitor.site.url}/decisions?q=key"


def test_two_people_at_once(visitor: Watched) -> None:
    """Somebody else was faster: the page says so, and nothing is done twice."""
    visitor.page.set_viewport_size({"width": 1280, "height": 800})
    visitor.go(f"/decisions?id={decided('pump 3')}")
    visitor.site.backbone.move(decided("pump 3"), "dismissed", "bob", "known")
    visitor.page.keyboard.press("a")
    visitor.page.click(".confirm .primary")
    visitor.page.wait_for_selector(".confirm :text('Not done')")
    assert [s.state for s in visitor.site.backbone.ledger.history(decided("pump 3"))] == [
        "proposed",
        "dismissed",
    ]


def test_keys_search_theme_and_help(visitor: Watched) -> None:
    page = visitor.page
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    visitor.go("/")
    page.keyboard.press("?")
    assert page.locator("dialog.help").is_visible()
    page.keyboard.press("Escape")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("button[data-theme]")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.click("button[data-theme]")
    page.keyboard.press("/")
    page.keyboard.type("pump 1")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('pump 1')")
    page.click("a:has-text('pump 1') >> nth=0")
    visitor.settle()
    visitor.go("/decisions")
    page.select_option("select[name=state]", "all")
    page.wait_for_url("**/decisions?state=all")


def test_record_leads_to_its_rows(visitor: Watched) -> None:
    visitor.go("/data?system=test.pumps")
    visitor.page.click("a:has-text('pumps_1.csv')")
    visitor.page.wait_for_selector("a.node:has-text('machine_reading')")
    visitor.page.fill("input[name=record]", "77")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("h3:has-text('Record 77 became')")
    assert "9.75" in visitor.page.inner_text("table")


def test_new_decisions_are_announced_quietly(visitor: Watched) -> None:
    visitor.go("/decisions")
    rows = visitor.page.locator("a.row").count()
    propose(visitor.site.backbone, ["late 1"])
    visitor.page.wait_for_selector("a.news:has-text('1 new')", timeout=20_000)
    assert visitor.page.locator("a.row").count() == rows  # nothing moved
    visitor.page.click("a.news")
    visitor.page.wait_for_selector("a.row:has-text('late 1')")


def test_empty_home_says_what_will_come(
    start: Callable[[Backbone], Site], browser: Any, tmp_path: Path
) -> None:
    site = start(empty_home(tmp_path))
    watched = _watch(browser, site, viewport={"width": 390, "height": 844})
    watched.page.goto(site.link())
    for path, words in {
        "/": "Nothing has come in yet", "/decisions": "No decisions yet", "/data": "Nothing came in yet", "/data/quarantine": "Nothing is in quarantine",
        "/data/table?name=stock": "No rows yet", "/search?q=x%20y%20z": "Nothing found",
    }.items():  # fmt: skip
        watched.page.wait_for_selector("#answer")
        watched.go(path)
        watched.page.wait_for_selector(f"#answer :text('{words}')")
        watched.shot(f"empty_{path.strip('/').replace('/', '_').split('?')[0] or 'home'}")
    assert watched.faults == []


def test_broken_lake_is_told(start: Callable[[Backbone], Site], browser: Any, tmp_path: Path) -> None:
    backbone = make_home(tmp_path)
    for log in (tmp_path / "home/lake/decision/_delta_log").glob("*.json"):
        log.write_text("not a log")
    site = start(backbone)
    watched = _watch(browser, site, viewport={"width": 1280, "height": 800})
    watched.page.goto(site.link())
    watched.page.wait_for_selector("#answer")
    watched.go("/decisions")
    watched.page.wait_for_selector("[role=alert] >> text=This could not be shown")
    assert "decision" in watched.page.inner_text(
        ".trouble .what"
    ) and "Nothing was changed" in watched.page.inner_text(".trouble")
    watched.shot("error_decisions")
    watched.go("/usecases/pump_life")
    watched.page.wait_for_selector("[role=alert]")
